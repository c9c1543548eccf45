// Processor time of curation on one thread: bench_curate FILE.jsonl
// Prints one line a job: name, megabytes of the file, seconds, MB/s. tests/bench/bench_curate.py
// makes the file and sets datasketch beside it.
#include <cstdio>
#include <ctime>

#include <fmt/format.h>

#include "core/log.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "distill/curate.h"
#include "distill/minhash/signature.h"
#include "distill/rows/row.h"
#include "distill/rows/row_files.h"
#include "distill/text/words.h"

namespace {

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

/// The best of three runs, in MB/s of the file.
template <typename Job>
void measure(const char* name, std::uint64_t bytes, Job job) {
  double best = 1e30;
  for (int i = 0; i < 3; ++i) {
    const double start = processor_seconds();
    job();
    best = std::min(best, processor_seconds() - start);
  }
  fmt::print("{} {:.1f} MB {:.3f} s {:.1f} MB/s\n", name, static_cast<double>(bytes) / 1e6, best,
             static_cast<double>(bytes) / 1e6 / best);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace lancet;
  if (argc != 2) return 2;
  parallel::set_threads(1);
  Progress::enable(false);
  log::set_level(log::Level::kQuiet);
  const RowFiles files({argv[1]});
  const auto each_text = [&](auto&& use) {
    for (std::size_t batch = 0; batch < files.batches(); ++batch)
      files.for_each_line(
          batch, [&](std::uint64_t, std::string_view line) { use(parse_row(line, "row").text()); });
  };
  std::uint64_t sum = 0;
  measure("parse", files.bytes(),
          [&] { each_text([&](const std::string& text) { sum += text.size(); }); });
  measure("hash", files.bytes(), [&] {
    each_text([&](const std::string& text) { sum += hash_text(normalise_text(text)); });
  });
  const MinHash hash(128, 1);
  measure("minhash", files.bytes(), [&] {
    each_text([&](const std::string& text) { sum += hash.sign(character_shingles(text, 5))[0]; });
  });
  const auto curate_with = [&](const char* filter) {
    (void)curate({.inputs = {argv[1]},
                  .output = std::string(argv[1]) + ".out",
                  .filters = {{.name = filter, .settings = {}}},
                  .force = true});
  };
  measure("curate-exact", files.bytes(), [&] { curate_with("exact"); });
  measure("curate-minhash", files.bytes(), [&] { curate_with("minhash"); });
  fmt::print("checksum {}\n", sum);
  return 0;
}
