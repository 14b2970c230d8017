// Measures every operation of the CPU backend at the shapes of a model, and the roofs of memory and processor at the
// same time. bench/README.md explains the results; "oss_cpu_bench --help" lists the options.
#include <cstdio>
#include <cstdlib>

#include "bench/cpu/bench.h"
#include "native/base/error.h"
#include "native/base/json.h"
#include "native/base/str.h"

namespace oss::bench {
namespace {

constexpr char kHelp[] = R"(Usage: oss_cpu_bench [options]

  --shape NAME       20b, 120b, small or tiny: the synthetic models      [20b]
  --threads N        [one per core]
  --numerics LIST    exact, fast                                         [exact,fast]
  --dense LIST       bf16, q8: the format of attention, embedding and head
                                                                         [bf16]
  --tokens LIST      tokens in a step: up to 32 are decoding sequences, more are a chunk of one prompt
                                                                         [1,4,8,32,128,512]
  --context LIST     tokens that attention sees                          [1024,8192]
  --only LIST        beginnings of names, e.g. experts,linear            [all operations]
  --json             JSON lines on stdout, the table on stderr
)";

std::vector<std::string> list(const std::string& text) {
  std::vector<std::string> out;
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size());
    out.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return out;
}

int count(const std::string& name, const std::string& text, int least) {
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != 0 || value < least || value > 1 << 20)
    throw Error(Code::kInvalidArgument,
                str("expected an integer >= ", least, " for ", name, " but received ", quote(text)));
  return int(value);
}

Options read_options(int argc, char** argv) {
  Options out;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    const auto value = [&]() -> std::string {
      if (++i == argc) throw Error(Code::kInvalidArgument, str(name, " needs a value; see --help"));
      return argv[i];
    };
    const auto counts = [&](int least) {
      std::vector<int> all;
      for (const std::string& one : list(value())) all.push_back(count(name, one, least));
      return all;
    };
    if (name == "--shape")
      out.shape = value();
    else if (name == "--threads")
      out.threads = count(name, value(), 1);
    else if (name == "--numerics")
      out.numerics = list(value());
    else if (name == "--dense")
      out.dense = list(value());
    else if (name == "--tokens")
      out.tokens = counts(1);
    else if (name == "--context")
      out.contexts = counts(1);
    else if (name == "--only")
      out.only = list(value());
    else if (name == "--json")
      out.json = true;
    else if (name == "--help")
      out.help = true;
    else
      throw Error(Code::kInvalidArgument, str("unknown option ", quote(name), "; see --help"));
  }
  return out;
}

void measure_all(const Options& options, const std::string& numerics, const std::string& dense) {
  try {
    Bench bench(options, numerics, dense);
    bench.run();
  } catch (const Error& error) {
    if (error.code() != Code::kUnsupported) throw;
    std::fprintf(options.json ? stderr : stdout, "%s: not measured: %s\n", numerics.c_str(), error.what());
    if (options.json)
      std::printf("{\"measure\":\"refused\",\"numerics\":%s,\"message\":%s}\n", quote(numerics).c_str(),
                  quote(error.what()).c_str());
  }
}

int run(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  if (options.help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  for (const std::string& dense : options.dense) {
    if (dense != "bf16" && dense != "q8")
      throw Error(Code::kInvalidArgument, str("expected bf16 or q8 for --dense but received ", quote(dense)));
    for (const std::string& numerics : options.numerics) measure_all(options, numerics, dense);
  }
  return 0;
}

}  // namespace
}  // namespace oss::bench

int main(int argc, char** argv) {
  try {
    return oss::bench::run(argc, argv);
  } catch (const oss::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.code() == oss::Code::kInvalidArgument || error.code() == oss::Code::kModelNotFound ? 2 : 1;
  }
}
