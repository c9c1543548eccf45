#pragma once
// Progress of long work on stderr: one redrawn line with rate and ETA on a terminal, otherwise a
// plain line at most every ten seconds. Silent under --quiet and --no-progress. Thread-safe.

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

namespace lancet {

class Progress {
 public:
  enum class Unit { kBytes, kTokens, kItems };
  /// `total` 0 = unknown.
  Progress(std::string label, std::uint64_t total, Unit unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(std::uint64_t amount);
  /// Words after the rate, e.g. what it has cost so far; shown from the next redraw on.
  void set_note(std::string note);
  void finish();
  static void enable(bool on) noexcept;  ///< --no-progress

 private:
  std::string label_;
  std::uint64_t total_;
  Unit unit_;
  std::atomic<std::uint64_t> done_{0};
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point last_;
  std::mutex mutex_;
  std::string note_;
  bool drawn_ = false;
  bool finished_ = false;
  void draw(bool last);
};

}  // namespace lancet
