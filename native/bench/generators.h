#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "clock.h"
#include "socket.h"

// One function per kind of load. Each prints a line of JSON when it is done and returns the program's exit code.
namespace warren::load {

// What the server makes of what it hears.
enum class Answer {
  // Every byte is its own answer.
  kEcho,
  // Every header section of HTTP/1.1 gets an answer of kHttpBody bytes; requests must have no bodies.
  kHttp,
};

// Size of the body in every answer of kHttp.
inline constexpr std::size_t kHttpBody = 64;

// Answers until it is killed: the other end of all generators.
[[noreturn]] void serve(int port, Answer answer);

struct ClosedLoop {
  Address target;
  std::uint64_t connections = 0;
  std::size_t size = 0;
  // Requests are GETs, whose answers end kHttpBody bytes behind their header section; `size` does not matter then.
  bool http = false;
  Nanoseconds warm_up = 0;
  Nanoseconds duration = 0;
};

// Each connection sends a request when the one before was answered.
int closed_loop(const ClosedLoop& load);

struct OpenLoop {
  Address target;
  std::uint64_t connections = 0;
  std::size_t size = 0;
  double rate = 0;
  Nanoseconds warm_up = 0;
  Nanoseconds duration = 0;
};

// Requests on a schedule that does not wait for answers; latency counts from when a request was due.
int open_loop(const OpenLoop& load);

struct NewFlows {
  Address target;
  std::uint64_t concurrency = 0;
  Nanoseconds warm_up = 0;
  Nanoseconds duration = 0;
};

// Connect, one byte there and back, close; again and again.
int new_flows(const NewFlows& load);

struct IdleFlows {
  Address target;
  std::uint64_t flows = 0;
  Nanoseconds deadline = 0;
};

// Opens connections, proves each by one byte there and back, says so, and holds them until standard input ends.
int idle_flows(const IdleFlows& load);

struct Sessions {
  std::vector<Address> targets;
  std::vector<std::string> netns;
  std::uint64_t concurrency = 0;
  Nanoseconds deadline = 0;
};

// One connection from each network namespace to each target, one byte there and back on each, all held to the end.
int sessions(const Sessions& load);

}  // namespace warren::load
