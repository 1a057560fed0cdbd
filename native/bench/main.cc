// warren_load: what the bench's pods run where a JavaScript client would be measuring itself. It opens TCP connections
// to an echo server (`serve`) and prints what it saw as one line of JSON, durations as histograms in nanoseconds.
#include <err.h>
#include <sys/prctl.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <string>

#include "generators.h"

namespace {

using warren::load::Address;
using warren::load::Nanoseconds;

constexpr const char* kUsage =
    "usage: warren_load serve    --port=P [--http=1]\n"
    "       warren_load pingpong --target=IP:PORT [--connections=1] [--size=1024 | --http=1] [--warm-up=0.2] "
    "[--seconds=2]\n"
    "       warren_load openloop --target=IP:PORT --rate=R [--connections=16] [--size=1024] [--warm-up=0.2] "
    "[--seconds=2]\n"
    "       warren_load flows    --target=IP:PORT [--concurrency=16] [--warm-up=0.2] [--seconds=2]\n"
    "       warren_load idle     --target=IP:PORT --flows=N [--deadline=60]\n"
    "       warren_load sessions --targets=IP:PORT,… --netns=PATH,… [--concurrency=16] [--deadline=60]";

class Arguments {
 public:
  Arguments(int argc, char** argv) {
    for (int i = 2; i < argc; i++) {
      const std::string word = argv[i];
      const std::size_t equals = word.find('=');
      if (word.rfind("--", 0) != 0 || equals == std::string::npos)
        errx(2, "%s is not --name=value\n%s", argv[i], kUsage);
      values_[word.substr(2, equals - 2)] = word.substr(equals + 1);
    }
  }

  [[nodiscard]] std::string text(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) errx(2, "--%s is missing\n%s", name.c_str(), kUsage);
    return found->second;
  }

  [[nodiscard]] double number(const std::string& name) const { return parse(name, text(name)); }
  [[nodiscard]] double number(const std::string& name, double otherwise) const {
    return values_.count(name) == 0 ? otherwise : number(name);
  }
  [[nodiscard]] std::uint64_t count(const std::string& name, double otherwise) const {
    return static_cast<std::uint64_t>(number(name, otherwise));
  }
  [[nodiscard]] Nanoseconds seconds(const std::string& name, double otherwise) const {
    return static_cast<Nanoseconds>(number(name, otherwise) * static_cast<double>(warren::load::kSecond));
  }
  [[nodiscard]] std::vector<std::string> list(const std::string& name) const {
    std::vector<std::string> parts;
    std::string rest = text(name);
    for (std::size_t comma = rest.find(','); comma != std::string::npos; comma = rest.find(',')) {
      parts.push_back(rest.substr(0, comma));
      rest = rest.substr(comma + 1);
    }
    parts.push_back(rest);
    return parts;
  }

 private:
  static double parse(const std::string& name, const std::string& text) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0' || !(value >= 0)) errx(2, "--%s: %s is not a number", name.c_str(), text.c_str());
    return value;
  }

  std::map<std::string, std::string> values_;
};

std::size_t positive(std::uint64_t value, const char* name) {
  if (value == 0) errx(2, "--%s must be at least 1", name);
  return value;
}

int run(const std::string& command, const Arguments& arguments) {
  const auto target = [&] { return warren::load::parse_address(arguments.text("target")); };
  const Nanoseconds warm_up = arguments.seconds("warm-up", 0.2);
  const Nanoseconds duration = arguments.seconds("seconds", 2);
  const bool http = arguments.number("http", 0) != 0;
  if (command == "serve")
    warren::load::serve(static_cast<int>(arguments.number("port")),
                        http ? warren::load::Answer::kHttp : warren::load::Answer::kEcho);
  if (command == "pingpong")
    return warren::load::closed_loop({.target = target(),
                                      .connections = positive(arguments.count("connections", 1), "connections"),
                                      .size = positive(arguments.count("size", 1024), "size"),
                                      .http = http,
                                      .warm_up = warm_up,
                                      .duration = duration});
  if (command == "openloop")
    return warren::load::open_loop({.target = target(),
                                    .connections = positive(arguments.count("connections", 16), "connections"),
                                    .size = positive(arguments.count("size", 1024), "size"),
                                    .rate = static_cast<double>(positive(arguments.count("rate", 0), "rate")),
                                    .warm_up = warm_up,
                                    .duration = duration});
  if (command == "flows")
    return warren::load::new_flows({.target = target(),
                                    .concurrency = positive(arguments.count("concurrency", 16), "concurrency"),
                                    .warm_up = warm_up,
                                    .duration = duration});
  if (command == "idle")
    return warren::load::idle_flows({.target = target(),
                                     .flows = positive(arguments.count("flows", 0), "flows"),
                                     .deadline = arguments.seconds("deadline", 60)});
  if (command == "sessions") {
    std::vector<Address> targets;
    for (const std::string& text : arguments.list("targets")) targets.push_back(warren::load::parse_address(text));
    return warren::load::sessions({.targets = targets,
                                   .netns = arguments.list("netns"),
                                   .concurrency = positive(arguments.count("concurrency", 16), "concurrency"),
                                   .deadline = arguments.seconds("deadline", 60)});
  }
  errx(2, "%s", kUsage);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) errx(2, "%s", kUsage);
  std::signal(SIGPIPE, SIG_IGN);
  warren::load::raise_descriptor_limit();
  // Sleeps end when they should: the default slack of 50 µs would be part of every latency measured on a schedule.
  static_cast<void>(prctl(PR_SET_TIMERSLACK, 1));
  return run(argv[1], Arguments(argc, argv));
}
