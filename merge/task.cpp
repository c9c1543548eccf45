#include "merge/task.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/parallel.h"
#include "core/text.h"
#include "merge/ops/convert.h"
#include "merge/ops/keys.h"

namespace lancet {
namespace {

constexpr std::uint64_t kBlock = 512;       ///< elements whose buffers stay in a core's cache
constexpr std::uint64_t kChunk = 1U << 19;  ///< elements computed by one thread at a time
constexpr std::uint64_t kRun = 16;          ///< elements that a sample takes from one place
constexpr std::uint64_t kCoded = 256;       ///< a whole number of quantised groups of any type

/// The first elements of a block.
Block first_of(Block block, std::size_t count) {
  block.size = count;
  block.base = block.base.first(block.base.empty() ? 0 : count);
  for (ops::Out& model : block.models) model = model.first(count);
  for (ops::Out& scratch : block.scratch) scratch = scratch.first(count);
  block.keys = block.keys.first(count);
  return block;
}

}  // namespace

/// The memory of one block under way.
class MergeTask::Buffers {
 public:
  Buffers(std::uint64_t size, std::size_t models, bool base)
      : size_(size), values_((models + Block::kScratch + (base ? 1 : 0)) * size), keys_(size) {
    block_.models.resize(models);
    block_.scratch.resize(Block::kScratch);
  }

  /// The block with its spans set, values still to be read. `base`: where the base's go.
  Block& shape(std::uint64_t number, std::uint64_t begin, std::size_t count, ops::Out& base) {
    block_.number = number;
    block_.begin = begin;
    block_.size = count;
    double* at = values_.data();
    const auto next = [&] { return ops::Out(std::exchange(at, at + size_), count); };
    for (ops::Out& model : block_.models) model = next();
    for (ops::Out& scratch : block_.scratch) scratch = next();
    base = at < values_.data() + values_.size() ? next() : ops::Out();
    block_.base = base;
    block_.keys = std::span(keys_).first(count);
    return block_;
  }

 private:
  std::uint64_t size_;
  std::vector<double> values_;
  std::vector<std::uint32_t> keys_;
  Block block_;
};

MergeTask::MergeTask(const Method& method, std::string name, std::vector<TaskModel> models,
                     const TensorReader* base, std::vector<double> values, Semantics semantics,
                     std::uint64_t seed)
    : method_(method),
      name_(std::move(name)),
      models_(std::move(models)),
      base_(base),
      values_(std::move(values)),
      semantics_(semantics),
      seed_(seed),
      shape_(base != nullptr ? base->shape() : models_.at(0).reader->shape()),
      elements_(base != nullptr ? base->elements() : models_.at(0).reader->elements()),
      width_(shape_.empty() ? 1 : static_cast<std::uint64_t>(shape_.back())) {
  const bool rows = method.unit == Method::Unit::kRows && width_ > 0;
  block_ = rows ? width_ * std::max<std::uint64_t>(1, kBlock / width_) : kBlock;
  chunk_ = block_ * std::max<std::uint64_t>(1, kChunk / block_);
}

MergeTask::~MergeTask() = default;

std::size_t MergeTask::index_of(std::string_view parameter) const {
  const MergeParameter* found = find_parameter(method_, parameter);
  if (found == nullptr)
    fail(ErrorKind::kInternal, "merge", fmt::format("no parameter '{}'", parameter));
  return static_cast<std::size_t>(found - method_.parameters.data());
}

namespace {

/// A task as the only one of a merge.
class OnlyTask final : public MergeTasks {
 public:
  explicit OnlyTask(const MergeTask& task) : task_(task) {}
  std::size_t size() const override { return 1; }
  void visit(std::size_t, const std::function<void(const MergeTask&)>& visit) const override {
    visit(task_);
  }

 private:
  const MergeTask& task_;
};

}  // namespace

const Linalg& MergeTask::linalg() const {
  if (context_.linalg != nullptr) return *context_.linalg;
  fail(
      ErrorKind::kResource, "merge",
      fmt::format("the method {} needs linear algebra, and this build has no engine", method_.name),
      "build with LibTorch: docs/quickstart.md");
}

std::vector<double> MergeTask::survey() const {
  return context_.survey ? context_.survey() : method_.survey(OnlyTask(*this));
}

double MergeTask::number(std::string_view parameter) const { return values_[index_of(parameter)]; }

double MergeTask::number(std::string_view parameter, std::size_t model) const {
  return models_[model].values[index_of(parameter)];
}

std::vector<double> MergeTask::numbers(std::string_view parameter) const {
  std::vector<double> out;
  for (std::size_t i = 0; i < models_.size(); ++i) out.push_back(number(parameter, i));
  return out;
}

std::optional<ParameterFault> MergeTask::fault() const {
  if (method_.fault == nullptr) return std::nullopt;
  auto fault = method_.fault(*this);
  if (fault) fault->message = fmt::format("tensor '{}': {}", printable(name_), fault->message);
  return fault;
}

void MergeTask::check_parameters() const {
  if (const auto found = fault()) fail(found->kind, "merge", found->message, found->hint);
}

Random MergeTask::random(std::size_t model) const {
  return Random(seed_, name_ + '\n' + models_[model].key);
}

std::unique_ptr<MergeTask::Buffers> MergeTask::take() const {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) {
    return std::make_unique<Buffers>(std::min(block_, std::max<std::uint64_t>(1, elements_)),
                                     models_.size(), base_ != nullptr);
  }
  auto buffers = std::move(free_.back());
  free_.pop_back();
  return buffers;
}

void MergeTask::give(std::unique_ptr<Buffers> buffers) const {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(buffers));
}

std::uint64_t MergeTask::chunk_elements(std::uint64_t chunk) const noexcept {
  return std::min(chunk_, elements_ - chunk * chunk_);
}

void MergeTask::visit(Buffers& buffers, std::uint64_t begin, std::size_t count, bool read,
                      const std::function<void(const Block&)>& body) const {
  ops::Out base;
  Block& block = buffers.shape(begin / block_, begin, count, base);
  block.read = read;
  if (read && base_ != nullptr) base_->read(begin, base);
  for (std::size_t i = 0; read && i < models_.size(); ++i) {
    if (deltas()) {
      models_[i].reader->read_less(begin, base, block.models[i]);
    } else {
      models_[i].reader->read(begin, block.models[i]);
    }
  }
  body(block);
}

void MergeTask::for_blocks(std::uint64_t begin, std::uint64_t end,
                           const std::function<void(const Block&)>& body, bool read) const {
  check_interrupted();
  auto buffers = take();
  for (std::uint64_t at = begin / block_ * block_; at < end; at += block_)
    visit(*buffers, at, std::min(block_, elements_ - at), read, body);
  give(std::move(buffers));
}

bool MergeTask::all_bfloat16() const {
  const auto is = [](const TensorReader& reader) { return !reader.bfloat16(0, 1).empty(); };
  return elements_ > 0 && (!deltas() || is(*base_)) &&
         std::ranges::all_of(models_, [&](const TaskModel& model) { return is(*model.reader); });
}

void MergeTask::model_keys(const Block& block, std::size_t model,
                           std::span<std::uint32_t> keys) const {
  ops::bfloat16_keys(keys, models_[model].reader->bfloat16(block.begin, block.size),
                     deltas() ? base_->bfloat16(block.begin, block.size) : Bytes());
}

void MergeTask::difference_keys(const Block& block, std::size_t a, std::size_t b,
                                std::span<std::uint32_t> keys) const {
  if (all_bfloat16()) {
    ops::bfloat16_keys(keys, models_[a].reader->bfloat16(block.begin, block.size),
                       models_[b].reader->bfloat16(block.begin, block.size));
  } else {
    ops::difference_keys(keys, block.models[a], block.models[b]);
  }
}

void MergeTask::scan_chunks(const std::function<void(std::uint64_t chunk)>& body) const {
  parallel::for_each(chunks(), [&](std::size_t chunk) {
    body(chunk);
    if (!keep_resident_) release(chunk);
  });
}

void MergeTask::sample(std::uint64_t count, const std::function<void(const Block&)>& body) const {
  const bool rows = method_.unit == Method::Unit::kRows;
  const std::uint64_t unit = rows ? block_ : all_bfloat16() ? kRun : kCoded;
  const std::uint64_t runs = std::max<std::uint64_t>(1, count / (rows ? block_ : kRun));
  // Each in a stretch of its own, at a place that does not keep step with rows.
  const std::uint64_t stretch = std::max<std::uint64_t>(1, blocks() * block_ / unit / runs);
  auto buffers = take();
  for (std::uint64_t r = 0; r < runs; ++r) {
    const std::uint64_t offset = (r * 0x9E3779B97F4A7C15ULL >> 32) % stretch;
    const std::uint64_t begin = (r * stretch + offset) * unit;
    if (begin >= elements_) break;
    const std::uint64_t size = std::min(unit, elements_ - begin);
    visit(*buffers, begin, size, true,
          [&](const Block& block) { body(rows ? block : first_of(block, std::min(kRun, size))); });
    if (!keep_resident_) release(begin, begin + size);
  }
  give(std::move(buffers));
}

std::vector<double> MergeTask::sum(
    std::size_t count, const std::function<void(const Block&, std::span<double>)>& part) const {
  const std::size_t slots = static_cast<std::size_t>(parallel::threads()) + 1;
  std::vector<std::vector<double>> parts(slots);
  std::vector<double> total(count);
  parallel::pipeline(chunks(), slots,
                     {.begin = [&](std::size_t, std::size_t slot) { parts[slot].assign(count, 0); },
                      .work =
                          [&](std::size_t chunk, std::size_t slot) {
                            for_blocks(chunk * chunk_, chunk * chunk_ + chunk_elements(chunk),
                                       [&](const Block& block) { part(block, parts[slot]); });
                            if (!keep_resident_) release(chunk);
                          },
                      .finish =
                          [&](std::size_t, std::size_t slot) {
                            for (std::size_t i = 0; i < count; ++i) total[i] += parts[slot][i];
                          }});
  return total;
}

void MergeTask::emit_chunk(const Emit& emit, std::uint64_t chunk, DType dtype,
                           std::span<std::byte> out) const {
  const std::uint64_t size = dtype_bytes(dtype, 1).value();
  std::vector<double> result(std::min(block_, elements_));
  const std::uint64_t first = chunk * chunk_;
  for_blocks(first, first + chunk_elements(chunk), [&](const Block& block) {
    const auto values = std::span(result).first(block.size);
    emit(block, values);
    const std::uint64_t at = block.begin - first;
    if (ops::store_values(dtype, values, out.subspan(at * size, block.size * size))) return;
    const auto bad = std::ranges::max_element(
        values, {}, [](double v) { return v == v ? std::abs(v) : HUGE_VAL; });
    fail(ErrorKind::kNumeric, "merge",
         fmt::format("tensor '{}': expected a result that {} can hold, found {} at element {}",
                     printable(name_), dtype_info(dtype).name, *bad,
                     block.begin + static_cast<std::uint64_t>(bad - values.begin())),
         "check weights and scales of the recipe, or give a wider dtype");
  });
}

void MergeTask::emit_values(const Emit& emit, std::uint64_t begin, std::span<double> out) const {
  std::vector<double> result(std::min(block_, elements_));
  const std::uint64_t end = begin + out.size();
  for_blocks(begin, end, [&](const Block& block) {
    const auto values = std::span(result).first(block.size);
    emit(block, values);
    const std::uint64_t from = std::max(begin, block.begin);
    const std::uint64_t to = std::min(end, block.begin + block.size);
    std::copy_n(values.begin() + static_cast<std::ptrdiff_t>(from - block.begin), to - from,
                out.begin() + static_cast<std::ptrdiff_t>(from - begin));
  });
}

void MergeTask::prefetch(std::uint64_t chunk) const noexcept {
  const std::uint64_t begin = chunk * chunk_;
  const std::uint64_t end = begin + chunk_elements(chunk);
  if (base_ != nullptr) base_->prefetch(begin, end);
  for (const TaskModel& model : models_) model.reader->prefetch(begin, end);
}

void MergeTask::release(std::uint64_t chunk) const noexcept {
  release(chunk * chunk_, chunk * chunk_ + chunk_elements(chunk));
}

void MergeTask::release(std::uint64_t begin, std::uint64_t end) const noexcept {
  if (base_ != nullptr) base_->release(begin, end);
  for (const TaskModel& model : models_) model.reader->release(begin, end);
}

}  // namespace lancet
