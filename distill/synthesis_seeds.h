#pragma once
// The seeds of one run of `synthesize`, cut into parts and rounds, and where their answers are
// kept.

#include <filesystem>
#include <vector>

#include "distill/job.h"
#include "distill/seeds.h"
#include "distill/turn.h"

namespace lancet {

class SynthesisSeeds {
 public:
  /// Part `part` of `parts`, counted from 1. kUsage for parts of a recipe that works in rounds.
  SynthesisSeeds(const Job& job, unsigned part, unsigned parts);

  [[nodiscard]] std::size_t count() const noexcept { return seeds_.size(); }
  [[nodiscard]] std::size_t duplicates() const noexcept { return duplicates_; }
  [[nodiscard]] bool whole() const noexcept { return parts_ == 1; }
  /// Items of a round, from the rows so far; empty after the last one.
  [[nodiscard]] std::vector<SeedItem> round(std::uint32_t number,
                                            const std::vector<Json>& rows) const;
  /// "OUT.journal"; of a part, "OUT.part-2-of-4.journal".
  [[nodiscard]] std::filesystem::path own_journal(const std::filesystem::path& out) const;
  /// The journals of the parts, when the whole is made.
  [[nodiscard]] std::vector<std::filesystem::path> part_journals(
      const std::filesystem::path& out) const;

 private:
  const Job& job_;
  const DataRecipe& recipe_;
  unsigned part_, parts_;
  std::vector<Seed> seeds_;
  std::size_t duplicates_ = 0;

  [[nodiscard]] std::vector<SeedItem> items_of(const std::vector<Seed>& seeds) const;
};

}  // namespace lancet
