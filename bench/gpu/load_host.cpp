// The host's half of loading weights to a GPU: reads a file into buffers that were touched before, like pinned ones, by
// every way that Linux has. A copy from memory to memory is the reference.
//
//   oss_load_bench [FOLDER] [--gigabytes 4] [--threads 1,2] [--repeats 7] [--cold]
//
// The file is in FOLDER (or in the system's temporary one) without a name, so it is gone when this program ends in any
// way. Each repetition runs every way once, so that other load on the machine affects all ways. --cold: also from the
// disk.
//
// Prints a line of JSON for each way and number of threads: GB/s (median, least, greatest), the share of the copy from
// memory to memory in the same repetition (median), and GB for each second of processor time. The last value is the
// cost of a way when other programs use some of the cores.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "native/base/thread_pool.h"

namespace {

using oss::ThreadPool;

constexpr size_t kPiece = 32 << 20, kRead = 256 << 10;  // the values of WeightStream
constexpr size_t kBuffers = 3;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "oss_load_bench: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

std::byte* touched(size_t bytes) {
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) fail("memory");
  return static_cast<std::byte*>(memory);
}

// One file, open with and without O_DIRECT (-1 where the file system has none).
struct File {
  int cached = -1, direct = -1;
  size_t bytes;

  File(const std::string& folder, size_t size) : bytes(size) {
    std::string path = folder + "/oss-load-XXXXXX";
    cached = mkstemp(path.data());
    if (cached < 0) fail(folder.c_str());
    direct = open(path.c_str(), O_RDONLY | O_DIRECT);
    unlink(path.c_str());
    std::vector<uint64_t> words(kPiece / sizeof(uint64_t));
    uint64_t state = 1;
    for (uint64_t& word : words) word = state = state * 6364136223846793005u + 1442695040888963407u;
    for (size_t at = 0; at < bytes; at += kPiece) {
      words[0] = at;
      if (pwrite(cached, words.data(), kPiece, off_t(at)) != ssize_t(kPiece)) fail("writing the file");
    }
    if (fsync(cached) != 0) fail("fsync");
  }
  void forget() const { posix_fadvise(cached, 0, 0, POSIX_FADV_DONTNEED); }
  void warm(std::byte* to) const {
    for (size_t at = 0; at < bytes; at += kPiece) read(cached, at, kPiece, to);
  }
  static void read(int file, size_t at, size_t count, std::byte* to) {
    while (count > 0) {
      const ssize_t got = pread(file, to, count, off_t(at));
      if (got <= 0) fail("reading the file");
      at += size_t(got);
      to += got;
      count -= size_t(got);
    }
  }
};

struct Mapping {
  const std::byte* data;
  size_t bytes;
  explicit Mapping(const File& file) : bytes(file.bytes) {
    void* at = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file.cached, 0);
    if (at == MAP_FAILED) fail("mmap");
    data = static_cast<const std::byte*>(at);
  }
  ~Mapping() { munmap(const_cast<std::byte*>(data), bytes); }
};

struct Seconds {
  double wall, processor;
};

double processor_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds_of = [](const timeval& time) { return double(time.tv_sec) + double(time.tv_usec) / 1e6; };
  return seconds_of(used.ru_utime) + seconds_of(used.ru_stime);
}

Seconds seconds(const std::function<void()>& body) {
  const double processor = processor_seconds();
  const auto from = std::chrono::steady_clock::now();
  body();
  return {std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count(),
          processor_seconds() - processor};
}

struct Rates {
  std::vector<double> all;
  double at(double share) {
    std::sort(all.begin(), all.end());
    return all[size_t(share * double(all.size() - 1))];
  }
};

struct Bench {
  const File& file;
  ThreadPool& pool;
  std::byte* buffers;  // kBuffers pieces

  // Calls `fetch(at, bytes, to)` for the whole file, piece by piece; the threads share each piece.
  template <typename Fetch>
  Seconds all(size_t grain, const Fetch& fetch) const {
    return seconds([&] {
      for (size_t piece = 0; piece < file.bytes; piece += kPiece) {
        std::byte* to = buffers + piece / kPiece % kBuffers * kPiece;
        pool.parallel_for(int64_t(kPiece), int64_t(grain), [&](int64_t begin, int64_t end, int) {
          fetch(piece + size_t(begin), size_t(end - begin), to + begin);
        });
      }
    });
  }
};

}  // namespace

int main(int argc, char** argv) {
  std::string folder = std::filesystem::temp_directory_path().string();
  std::vector<int> threads = {1, 2};
  double gigabytes = 4;
  int repeats = 7;
  bool cold = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : "";
    if (word == "--gigabytes") {
      gigabytes = std::atof(value), ++i;
    } else if (word == "--repeats") {
      repeats = std::atoi(value), ++i;
    } else if (word == "--cold") {
      cold = true;
    } else if (word == "--threads") {
      threads.clear();
      std::istringstream list(value);
      for (std::string one; std::getline(list, one, ',');) threads.push_back(std::atoi(one.c_str()));
      ++i;
    } else {
      folder = word;
    }
  }
  const size_t pieces = std::max<size_t>(1, size_t(gigabytes * 1e9) / kPiece);
  const File file(folder, pieces * kPiece);
  const std::byte* memory = touched(file.bytes);
  std::byte* buffers = touched(kBuffers * kPiece);

  for (const int n : threads) {
    ThreadPool pool(n);
    const Bench bench{file, pool, buffers};
    constexpr size_t kMB = 1 << 20;
    const auto copy_from = [](const std::byte* data) {
      return [data](size_t at, size_t bytes, std::byte* to) { std::memcpy(to, data + at, bytes); };
    };
    const auto pread_from = [](int fd) {
      return [fd](size_t at, size_t bytes, std::byte* to) { File::read(fd, at, bytes, to); };
    };
    // The same range of the piece after the next one: it is read while this one is copied.
    const auto pread_ahead = [&](size_t at, size_t bytes, std::byte* to) {
      posix_fadvise(file.cached, off_t(at + 2 * kPiece), off_t(bytes), POSIX_FADV_WILLNEED);
      File::read(file.cached, at, bytes, to);
    };
    const std::vector<std::pair<const char*, std::function<Seconds()>>> ways = {
        {"memory to memory", [&] { return bench.all(kMB, copy_from(memory)); }},
        {"mapping, fresh",
         [&] {
           const Mapping mapping(file);
           return bench.all(kMB, copy_from(mapping.data));
         }},
        {"mapping, fresh, populated by the MB",
         [&] {
           const Mapping mapping(file);
           return bench.all(kMB, [&](size_t at, size_t bytes, std::byte* to) {
             madvise(const_cast<std::byte*>(mapping.data) + at, bytes, MADV_POPULATE_READ);
             std::memcpy(to, mapping.data + at, bytes);
           });
         }},
        {"pread, 256 KB", [&] { return bench.all(kRead, pread_from(file.cached)); }},
        {"pread, 1 MB", [&] { return bench.all(kMB, pread_from(file.cached)); }},
        {"pread, 4 MB", [&] { return bench.all(4 * kMB, pread_from(file.cached)); }},
        {"pread, 256 KB, asked for before", [&] { return bench.all(kRead, pread_ahead); }},
        {"O_DIRECT, 4 MB, file in the page cache", [&] { return bench.all(4 * kMB, pread_from(file.direct)); }},
        {"O_DIRECT, 4 MB, cold",
         [&] {
           file.forget();
           return bench.all(4 * kMB, pread_from(file.direct));
         }},
        {"pread, 256 KB, cold",
         [&] {
           file.forget();
           return bench.all(kRead, pread_from(file.cached));
         }},
        {"pread, 256 KB, asked for before, cold",
         [&] {
           file.forget();
           return bench.all(kRead, pread_ahead);
         }},
        {"mapping, cold",
         [&] {
           file.forget();
           const Mapping mapping(file);
           return bench.all(kMB, copy_from(mapping.data));
         }},
    };
    const auto left_out = [&](std::string_view name) {
      const bool direct = name.starts_with("O_DIRECT"), from_disk = direct || name.ends_with("cold");
      return (direct && file.direct < 0) || (from_disk && !cold);
    };
    std::map<const char*, Rates> rates, of_processor, shares;
    for (int repeat = 0; repeat < repeats; ++repeat) {
      if (cold || repeat == 0) file.warm(buffers);
      for (const auto& [name, run] : ways) {
        if (left_out(name)) continue;
        const Seconds took = run();
        const double gigabytes_read = double(file.bytes) / 1e9;
        rates[name].all.push_back(gigabytes_read / took.wall);
        of_processor[name].all.push_back(gigabytes_read / took.processor);
        shares[name].all.push_back(rates[name].all.back() / rates[ways.front().first].all.back());
      }
    }
    for (const auto& [name, run] : ways) {
      if (left_out(name)) continue;
      Rates& rate = rates[name];
      std::printf(
          "{\"way\":\"%s\",\"threads\":%d,\"gigabytesPerSecond\":%.2f,\"least\":%.2f,\"greatest\":%.2f,"
          "\"roofShare\":%.2f,\"perProcessorSecond\":%.2f}\n",
          name, n, rate.at(0.5), rate.at(0), rate.at(1), shares[name].at(0.5), of_processor[name].at(0.5));
    }
    std::fflush(stdout);
  }
}
