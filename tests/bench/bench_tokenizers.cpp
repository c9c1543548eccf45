// Speed of one tokenizer on one text, as JSON for bench_tokenizers.py: MB/s of processor time (best
// of the rounds); batches of lines over 1 and 2 threads by the clock. usage: bench_tokenizers MODEL
// TEXT.txt [rounds]

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/file.h"
#include "core/parallel.h"
#include "formats/tokenizer/tokenizer.h"

namespace {

using namespace lancet;

double best_seconds(int rounds, const std::function<void()>& work) {
  double best = 1e9;
  for (int i = 0; i < rounds; ++i) {
    const std::clock_t start = std::clock();
    work();
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  return best;
}

double wall_seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int run(const fs::path& model, const fs::path& path, int rounds) {
  const std::string text = read_file(path);
  std::vector<std::string> lines;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  const double load = best_seconds(rounds, [&] { static_cast<void>(Tokenizer::open(model)); });
  const Tokenizer tokenizer = Tokenizer::open(model);
  const std::vector<TokenId> ids = tokenizer.encode(text).ids;
  const double megabytes = static_cast<double>(text.size()) / 1e6;
  const double whole = best_seconds(rounds, [&] { static_cast<void>(tokenizer.encode(text)); });
  const double split = best_seconds(rounds, [&] {
    for (const std::string& line : lines) static_cast<void>(tokenizer.encode(line));
  });
  const double back =
      best_seconds(rounds, [&] { static_cast<void>(tokenizer.decode(ids, false)); });
  const auto batch = [&](int threads) {
    parallel::set_threads(threads);
    double best = 1e9;
    for (int round = 0; round < rounds; ++round) {
      best = std::min(best, wall_seconds([&] {
                        parallel::for_each(lines.size(), [&](std::size_t i) {
                          static_cast<void>(tokenizer.encode(lines[i]));
                        });
                      }));
    }
    return megabytes / best;
  };
  const double one = batch(1);
  const double two = batch(2);
  std::printf(
      "{\"tokens\": %zu, \"load\": %.4f, \"encode\": %.2f, \"lines\": %.2f, \"decode\": %.2f, "
      "\"batch1\": %.2f, \"batch2\": %.2f}\n",
      ids.size(), load, megabytes / whole, megabytes / split, megabytes / back, one, two);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: bench_tokenizers MODEL TEXT.txt [rounds]\n");
    return 2;
  }
  try {
    return run(argv[1], argv[2], argc > 3 ? std::max(1, std::atoi(argv[3])) : 3);
  } catch (const Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return error.exit_code();
  }
}
