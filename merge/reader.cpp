#include "merge/reader.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/adapter/overlay.h"
#include "merge/ops/convert.h"
#include "merge/ops/vector.h"

namespace lancet {
namespace {

std::uint64_t count_elements(const std::vector<std::int64_t>& shape) {
  std::uint64_t n = 1;
  for (const std::int64_t d : shape) n *= static_cast<std::uint64_t>(d);
  return n;
}

/// Stored bytes that are element after element in the order of the tensor.
class RawReader final : public TensorReader {
 public:
  RawReader(const ModelSource& source, const TensorInfo& tensor, std::string label)
      : TensorReader(std::move(label), tensor.shape),
        source_(source),
        tensor_(tensor),
        size_(dtype_bytes(tensor.dtype, 1).value()),
        bytes_(source.raw(tensor)) {}

  void read(std::uint64_t begin, std::span<double> out) const override {
    if (!ops::load_values(tensor_.dtype, stored(begin, out.size()), out))
      fail_not_finite(*this, begin, out);
  }
  void read_less(std::uint64_t begin, std::span<const double> base,
                 std::span<double> out) const override {
    if (!ops::load_differences(tensor_.dtype, stored(begin, out.size()), base, out))
      fail_not_finite(*this, begin, out);
  }
  Bytes bfloat16(std::uint64_t begin, std::uint64_t count) const override {
    return tensor_.dtype == DType::kBF16 ? stored(begin, count) : Bytes();
  }
  void prefetch(std::uint64_t begin, std::uint64_t end) const noexcept override {
    file().prefetch(tensor_.offset + begin * size_, (end - begin) * size_);
  }
  void release(std::uint64_t begin, std::uint64_t end) const noexcept override {
    file().release(tensor_.offset + begin * size_, (end - begin) * size_);
  }

 private:
  const ModelSource& source_;
  TensorInfo tensor_;
  std::uint64_t size_;
  Bytes bytes_;

  Bytes stored(std::uint64_t begin, std::uint64_t count) const {
    return bytes_.subspan(begin * size_, count * size_);
  }
  const MappedFile& file() const { return source_.checkpoint().files()[tensor_.file]; }
};

/// Quantised blocks, packed types and permuted rows: decoded by whole rows through float32.
class RowReader final : public TensorReader {
 public:
  RowReader(const ModelSource& source, const TensorInfo& tensor, std::string label)
      : TensorReader(std::move(label), tensor.shape),
        source_(source),
        tensor_(tensor),
        width_(tensor.shape.empty() || tensor.shape[0] == 0
                   ? 1
                   : elements() / static_cast<std::uint64_t>(tensor.shape[0])) {}

  void read(std::uint64_t begin, std::span<double> out) const override {
    const std::uint64_t first = begin / width_;
    const std::uint64_t last = (begin + out.size() + width_ - 1) / width_;
    std::vector<float> rows((last - first) * width_);
    source_.read_f32(tensor_, static_cast<std::int64_t>(first), static_cast<std::int64_t>(last),
                     rows);
    if (!ops::widen(std::span(rows).subspan(begin - first * width_, out.size()), out)) {
      fail_not_finite(*this, begin, out);
    }
  }
  void release(std::uint64_t begin, std::uint64_t end) const noexcept override {
    const auto scaled = [&](std::uint64_t at) {
      const double share =
          static_cast<double>(at) / static_cast<double>(std::max<std::uint64_t>(1, elements()));
      return static_cast<std::uint64_t>(share * static_cast<double>(tensor_.bytes));
    };
    source_.release(tensor_, scaled(begin), scaled(end) - scaled(begin));
  }

 private:
  const ModelSource& source_;
  TensorInfo tensor_;
  std::uint64_t width_;
};

/// W + s B A in float64, whole rows at a time.
class AdaptedReader final : public TensorReader {
 public:
  AdaptedReader(const AdapterOverlay& overlay, const TensorInfo& tensor,
                std::unique_ptr<TensorReader> plain, std::string label)
      : TensorReader(std::move(label), tensor.shape),
        overlay_(overlay),
        name_(tensor.name),
        width_(elements() / static_cast<std::uint64_t>(tensor.shape[0])),
        plain_(std::move(plain)) {}

  void read(std::uint64_t begin, std::span<double> out) const override {
    const std::uint64_t first = begin / width_;
    const std::uint64_t last = (begin + out.size() + width_ - 1) / width_;
    std::vector<double> rows((last - first) * width_);
    plain_->read(first * width_, rows);
    overlay_.apply(name_, static_cast<std::int64_t>(first), static_cast<std::int64_t>(width_),
                   std::span(rows));
    std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(begin - first * width_), out.size(),
                out.begin());
    if (!std::ranges::all_of(out, [](double v) { return std::isfinite(v); }))
      fail_not_finite(*this, begin, out);
  }
  void prefetch(std::uint64_t begin, std::uint64_t end) const noexcept override {
    plain_->prefetch(begin, end);
  }
  void release(std::uint64_t begin, std::uint64_t end) const noexcept override {
    plain_->release(begin, end);
  }

 private:
  const AdapterOverlay& overlay_;
  std::string name_;
  std::uint64_t width_;
  std::unique_ptr<TensorReader> plain_;
};

}  // namespace

TensorReader::TensorReader(std::string label, std::vector<std::int64_t> shape)
    : label_(std::move(label)), shape_(std::move(shape)), elements_(count_elements(shape_)) {}

void TensorReader::read_less(std::uint64_t begin, std::span<const double> base,
                             std::span<double> out) const {
  read(begin, out);
  ops::subtract(out, base);
}
Bytes TensorReader::bfloat16(std::uint64_t /*begin*/, std::uint64_t /*count*/) const { return {}; }
void TensorReader::prefetch(std::uint64_t /*begin*/, std::uint64_t /*end*/) const noexcept {}
void TensorReader::release(std::uint64_t /*begin*/, std::uint64_t /*end*/) const noexcept {}

void fail_not_finite(const TensorReader& reader, std::uint64_t begin,
                     std::span<const double> values) {
  const auto bad = std::ranges::find_if(values, [](double v) { return !std::isfinite(v); });
  const auto at = begin + static_cast<std::uint64_t>(bad - values.begin());
  fail(ErrorKind::kNumeric, "merge",
       fmt::format("{}: expected finite values, found {} at element {}", reader.label(),
                   bad == values.end() ? 0.0 : *bad, at),
       "this model is damaged: `lancet inspect MODEL --stats` counts NaN and Inf per tensor");
}

std::unique_ptr<TensorReader> stored_reader(const ModelSource& source, const TensorInfo& tensor,
                                            std::string_view model) {
  std::string label =
      fmt::format("tensor '{}' of '{}'", printable(tensor.name), printable(model, 400));
  const DTypeInfo& info = dtype_info(tensor.dtype);
  const bool plain = !info.quantized && info.block_bits % 8 == 0 && !source.raw(tensor).empty();
  if (plain) return std::make_unique<RawReader>(source, tensor, std::move(label));
  return std::make_unique<RowReader>(source, tensor, std::move(label));
}

std::unique_ptr<TensorReader> adapted_reader(const ModelSource& adapted, const ModelSource& plain,
                                             const TensorInfo& tensor, std::string_view model) {
  const AdapterOverlay& overlay = *adapted.overlay();
  const TensorInfo* own = plain.find(tensor.name);
  const bool product = overlay.changes(tensor.name) &&
                       overlay.replacement(tensor.name) == nullptr && own != nullptr &&
                       own->shape == tensor.shape && tensor.elements() > 0;
  if (!product) return stored_reader(adapted, tensor, model);
  const auto rows = tensor.shape[0];
  overlay.look(tensor.name, rows, static_cast<std::int64_t>(tensor.elements()) / rows,
               [&](std::int64_t begin, std::int64_t end, std::span<float> out) {
                 plain.read_f32(*own, begin, end, out);
               });
  return std::make_unique<AdaptedReader>(
      overlay, tensor, stored_reader(plain, *own, model),
      fmt::format("tensor '{}' of '{}'", printable(tensor.name), printable(model, 400)));
}

}  // namespace lancet
