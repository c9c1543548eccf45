// token_reader of merge/tokens.h.
#include <algorithm>
#include <map>
#include <mutex>
#include <new>

#include "core/error.h"
#include "merge/ops/vector.h"
#include "merge/tokens.h"

namespace lancet {
namespace {

class TokenReader final : public TensorReader {
 public:
  TokenReader(std::vector<std::unique_ptr<TensorReader>> readers, std::shared_ptr<const RowMap> map,
              std::vector<std::int64_t> shape, std::uint64_t columns, std::string label)
      : TensorReader(std::move(label), std::move(shape)),
        readers_(std::move(readers)),
        map_(std::move(map)),
        columns_(columns) {}

  void read(std::uint64_t begin, std::span<double> out) const override {
    std::vector<double> row(columns_);
    for (std::uint64_t at = begin, end = begin + out.size(); at < end;) {
      const std::uint64_t first = at % columns_;
      const std::uint64_t count = std::min(columns_ - first, end - at);
      read_row(at / columns_, first, out.subspan(at - begin, count), row);
      at += count;
    }
  }

  /// The rows that these are made of, neighbours of a source in one range.
  void release(std::uint64_t begin, std::uint64_t end) const noexcept override try {
    constexpr std::uint32_t kNear = 512;  // rows between two that are released with them
    std::map<std::uint32_t, std::vector<std::uint32_t>> rows;  // of each source
    const std::uint64_t past = std::min<std::uint64_t>((end + columns_ - 1) / columns_,
                                                       static_cast<std::uint64_t>(map_->rows()));
    for (std::uint64_t k = map_->starts[begin / columns_]; k < map_->starts[past]; ++k) {
      const RowMap::Row& source = map_->sources[k];
      if (source.row != RowMap::kMean) rows[source.input].push_back(source.row);
    }
    for (auto& [input, list] : rows) {
      std::ranges::sort(list);
      for (std::size_t i = 0, first = 0; i < list.size(); ++i) {
        if (i + 1 < list.size() && list[i + 1] - list[i] <= kNear) continue;
        readers_[input]->release(list[first] * columns_, (list[i] + std::uint64_t{1}) * columns_);
        first = i + 1;
      }
    }
  } catch (const std::bad_alloc&) {  // they stay mapped: only memory is lost
  }

 private:
  std::vector<std::unique_ptr<TensorReader>> readers_;
  std::shared_ptr<const RowMap> map_;
  std::uint64_t columns_;
  mutable std::mutex mutex_;
  mutable std::map<std::uint32_t, std::vector<double>> means_;

  void read_row(std::uint64_t row, std::uint64_t first, ops::Out out,
                std::vector<double>& scratch) const {
    ops::fill(out, 0);
    const std::uint32_t from = map_->starts[row], to = map_->starts[row + 1];
    for (std::uint32_t k = from; k < to; ++k) {
      const RowMap::Row& source = map_->sources[k];
      const ops::Out values = std::span(scratch).first(out.size());
      if (source.row == RowMap::kMean) {
        ops::copy(values, std::span(mean(source.input)).subspan(first, out.size()));
      } else {
        readers_[source.input]->read(source.row * columns_ + first, values);
      }
      ops::add(out, values);
    }
    if (to - from > 1) ops::scale(out, 1 / static_cast<double>(to - from));
  }

  const std::vector<double>& mean(std::uint32_t input) const {
    const std::lock_guard lock(mutex_);
    std::vector<double>& sum = means_[input];
    if (!sum.empty()) return sum;
    sum.resize(columns_);
    const TensorReader& reader = *readers_[input];
    const std::uint64_t rows = reader.elements() / columns_;
    std::vector<double> row(columns_);
    for (std::uint64_t r = 0; r < rows; ++r) {
      reader.read(r * columns_, row);
      ops::add(sum, row);
    }
    reader.release(0, reader.elements());
    ops::scale(sum, 1 / static_cast<double>(std::max<std::uint64_t>(1, rows)));
    return sum;
  }
};

}  // namespace

std::unique_ptr<TensorReader> token_reader(std::vector<std::unique_ptr<TensorReader>> readers,
                                           std::shared_ptr<const RowMap> map, std::string label) {
  std::uint64_t columns = 0;
  std::vector<std::int64_t> shape;
  for (const auto& reader : readers) {
    if (reader == nullptr) continue;
    shape = reader->shape();
    const std::uint64_t own = shape.size() < 2 ? 1 : static_cast<std::uint64_t>(shape[1]);
    if (columns != 0 && columns != own) {
      fail(ErrorKind::kMismatch, "merge",
           label + ": expected embeddings of one width, found " + std::to_string(columns) +
               " and " + std::to_string(own));
    }
    columns = own;
  }
  shape.at(0) = map->rows();
  return std::make_unique<TokenReader>(std::move(readers), std::move(map), std::move(shape),
                                       columns, std::move(label));
}

}  // namespace lancet
