#include "distill/train/epochs.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {
namespace {

constexpr std::int64_t kMost = 1'000'000'000;

void check_range(const char* name, std::int64_t value, std::int64_t least, std::int64_t most) {
  if (value < least || value > most)
    fail(ErrorKind::kUsage, "train",
         fmt::format("{}: expected a number from {} to {}, found {}", name, least, most, value));
}

}  // namespace

std::vector<Pack> make_packs(const Dataset& data, std::span<const std::size_t> rows,
                             const TrainRequest& request) {
  if (request.batch_size > 0) return batch_rows(rows, data.lengths(), request.batch_size);
  if (request.pack) return pack_best_fit(rows, data.lengths(), request.batch_tokens);
  return batch_tokens(rows, data.lengths(), request.batch_tokens);
}

void check_epochs(const TrainRequest& request) {
  check_range("--epochs", request.epochs, 1, 1'000'000);
  check_range("--steps", request.steps, 0, kMost);
  check_range("--accumulate", request.accumulate, 1, 1'000'000);
  check_range("--batch-size", request.batch_size, 0, 1'000'000);
  check_range("--batch-tokens", request.batch_tokens, 2, kMost);
}

Epochs::Epochs(const Dataset& data, const TrainRequest& request) : data_(data), request_(request) {
  check_epochs(request);
  const std::int64_t wanted =
      request.steps > 0 ? request.steps * request.accumulate : std::int64_t{0};
  begins_.push_back(0);
  for (std::int64_t epoch = 0; wanted > 0 ? begins_.back() < wanted : epoch < request.epochs;
       ++epoch) {
    const auto count = static_cast<std::int64_t>(packs_of(epoch).size());
    if (epoch == 0)
      report_ = report_packs(packs_, data.lengths(),
                             request.pack && request.batch_size == 0 ? request.batch_tokens : 0);
    begins_.push_back(begins_.back() + count);
  }
  const std::int64_t total = wanted > 0 ? wanted : begins_.back();
  steps_ = (total + request.accumulate - 1) / request.accumulate;
}

const std::vector<Pack>& Epochs::packs_of(std::int64_t epoch) {
  if (epoch == current_) return packs_;
  if (request_.shuffle) {
    packs_ = make_packs(data_, data_.order(static_cast<std::uint32_t>(epoch)), request_);
  } else {
    packs_ = make_packs(data_, data_.train_rows(), request_);
  }
  current_ = epoch;
  return packs_;
}

Epochs::Window Epochs::window(std::int64_t step) {
  Window out;
  out.first = step * request_.accumulate;
  const std::int64_t end = std::min(out.first + request_.accumulate, begins_.back());
  for (std::int64_t i = out.first; i < end; ++i) {
    const std::int64_t epoch = std::ranges::upper_bound(begins_, i) - begins_.begin() - 1;
    const std::vector<Pack>& packs = packs_of(epoch);
    const std::int64_t place = i - begins_[static_cast<std::size_t>(epoch)];
    out.packs.push_back(packs[static_cast<std::size_t>(place)]);
    out.epoch = static_cast<double>(epoch) +
                static_cast<double>(place + 1) / static_cast<double>(packs.size());
  }
  return out;
}

}  // namespace lancet
