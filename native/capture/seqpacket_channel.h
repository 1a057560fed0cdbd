#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/fd.h"
#include "result.h"

namespace warren::capture {

// One message with the descriptors that came along (SCM_RIGHTS, unix(7)).
struct Packet {
  std::string bytes;
  std::vector<Fd> descriptors;
};

// A client of a unix SOCK_SEQPACKET socket, which node:net cannot be: it keeps the borders of messages and takes
// descriptors.
class SeqpacketChannel {
 public:
  // `deliver` is called on the channel's thread: with each packet, and at last with why there will be no more.
  static Result<std::unique_ptr<SeqpacketChannel>> connect(const std::string& path,
                                                           std::function<void(Result<Packet>)> deliver);
  ~SeqpacketChannel();
  SeqpacketChannel(const SeqpacketChannel&) = delete;
  SeqpacketChannel& operator=(const SeqpacketChannel&) = delete;

  // Any thread. Never waits: a peer that does not read fails it.
  [[nodiscard]] Result<Unit> send(const std::string& bytes) const;

 private:
  SeqpacketChannel() = default;
  void loop();
  Result<Packet> receive() const;

  std::function<void(Result<Packet>)> deliver_;
  Fd socket_;
  Fd stop_;
  std::thread thread_;
};

}  // namespace warren::capture
