#pragma once
// One pass over rows: batches parsed and inspected on all threads, decided in order.

#include <functional>
#include <optional>
#include <vector>

#include "distill/curate_tally.h"
#include "distill/filter.h"
#include "distill/rows/row_files.h"

namespace lancet {

/// A filter at work.
struct ActiveFilter {
  const Filter* filter;
  FilterValues values;
  std::unique_ptr<RowFilter> rows;
  FilterTally tally;
};

/// Where a row came from first.
struct Origin {
  std::uint32_t source;
  std::uint64_t line;
};

struct Stage {
  const RowFiles* files = nullptr;
  /// Of each row, when the rows come from a spool and not from the inputs.
  const std::vector<Origin>* origins = nullptr;
  /// Answers of the selecting filter before this stage, one for each row of the spool.
  ActiveFilter* selector = nullptr;
  const std::vector<std::optional<Drop>>* selected = nullptr;
  std::span<ActiveFilter> filters;  ///< none of them selecting
  std::function<std::string(const Row&)> place;
  std::function<void(const Row&)> read, keep;
  std::function<void(const std::string& message)> bad;  ///< names file and line
  std::function<std::string(std::uint32_t source)> name;
  std::function<void(std::uint64_t bytes)> progress;
};
void run_stage(const Stage& stage);

/// The rows of a spool, for selecting filters.
class SpoolStore final : public RowStore {
 public:
  SpoolStore(const RowFiles& files, const std::vector<Origin>& origins)
      : files_(files), origins_(origins) {}
  [[nodiscard]] std::size_t size() const override { return origins_.size(); }
  void for_each_group(
      std::size_t group,
      const std::function<void(std::size_t, const std::vector<Row>&)>& each) const override;

 private:
  const RowFiles& files_;
  const std::vector<Origin>& origins_;
};

}  // namespace lancet
