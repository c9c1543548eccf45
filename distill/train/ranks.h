#pragma once
// The processes of a data-parallel run, over LibTorch's c10d (Gloo). Every rank calls the same
// operations in the same order. One process alone: nothing is sent.
//
// What a rank does by itself runs in together(): one that fails says so when it comes to the
// others, and all stop with it. One that is killed breaks its connections, and the others' next
// operation fails with kResource.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "distill/train/rank_place.h"

namespace lancet {

class Ranks {
 public:
  /// One process.
  Ranks();
  /// Meets the others. kResource when they do not come within `seconds` (> 0) or where this build
  /// has no c10d.
  Ranks(const RankPlace& place, double seconds);
  ~Ranks();
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  [[nodiscard]] std::int64_t rank() const noexcept { return place_.rank; }
  [[nodiscard]] std::int64_t size() const noexcept { return place_.size; }
  [[nodiscard]] bool first() const noexcept { return place_.rank == 0; }
  /// Whether item i of work that is dealt out in turn is this rank's.
  [[nodiscard]] bool takes(std::size_t i) const noexcept {
    return static_cast<std::int64_t>(i % static_cast<std::size_t>(place_.size)) == place_.rank;
  }

  /// Runs `body` and waits until all have. Where it threw on any rank, all throw: that rank its own
  /// exception, the others one of the same kind that says what it was.
  void together(const std::function<void()>& body) const;
  /// values[i] = the sum of all ranks' values[i]; the same bits on every rank.
  void sum(std::span<float> values) const;
  void sum(std::span<double> values) const;
  /// Rank 0's bytes everywhere.
  void broadcast(std::span<std::byte> bytes) const;
  /// Rank 0's text everywhere.
  [[nodiscard]] std::string broadcast(const std::string& text) const;
  /// Whether all ranks come with the same text.
  [[nodiscard]] bool agree(const std::string& text) const;

 private:
  struct Group;
  RankPlace place_;
  std::unique_ptr<Group> group_;
};

}  // namespace lancet
