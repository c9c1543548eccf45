#pragma once
// The micro-batches of a run as one stream, epoch after epoch: a pure function of data, settings
// and seed, so that a resumed run finds its place by a number.

#include <cstdint>
#include <vector>

#include "distill/train/dataset.h"
#include "distill/train/example.h"
#include "distill/train/pack.h"
#include "distill/train/requests.h"

namespace lancet {

/// The micro-batches of these rows as the request wants them.
[[nodiscard]] std::vector<Pack> make_packs(const Dataset& data, std::span<const std::size_t> rows,
                                           const TrainRequest& request);

/// kUsage where a setting of epochs, steps or micro-batches is out of range.
void check_epochs(const TrainRequest& request);

class Epochs {
 public:
  Epochs(const Dataset& data, const TrainRequest& request);

  [[nodiscard]] std::int64_t steps() const noexcept { return steps_; }
  /// The micro-batches of one step, and the number of the first in the stream.
  struct Window {
    std::vector<Pack> packs;
    std::int64_t first = 0;
    double epoch = 0;  ///< passes over the data when they are done
  };
  [[nodiscard]] Window window(std::int64_t step);
  /// Of the first epoch.
  [[nodiscard]] const PackReport& report() const noexcept { return report_; }

 private:
  [[nodiscard]] const std::vector<Pack>& packs_of(std::int64_t epoch);

  const Dataset& data_;
  const TrainRequest& request_;
  std::vector<std::int64_t> begins_;  ///< of each epoch in the stream, and the end
  std::int64_t steps_ = 0;
  std::int64_t current_ = -1;  ///< epoch of packs_
  std::vector<Pack> packs_;
  PackReport report_;
};

}  // namespace lancet
