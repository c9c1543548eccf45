#pragma once
// Where the values of one input tensor come from: a stored tensor, an earlier stage of the recipe,
// rows picked by token. Values are float64, in C order.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/model_source.h"

namespace lancet {

class TensorReader {
 public:
  TensorReader(std::string label, std::vector<std::int64_t> shape);
  virtual ~TensorReader() = default;
  TensorReader(const TensorReader&) = delete;
  TensorReader& operator=(const TensorReader&) = delete;

  /// "tensor 'x' of 'model'", for messages.
  [[nodiscard]] const std::string& label() const noexcept { return label_; }
  [[nodiscard]] const std::vector<std::int64_t>& shape() const noexcept { return shape_; }
  [[nodiscard]] std::uint64_t elements() const noexcept { return elements_; }

  /// Elements [begin, begin + out.size()). Thread-safe. A value that is not finite is
  /// Error(kNumeric).
  virtual void read(std::uint64_t begin, std::span<double> out) const = 0;
  /// The same less `base`, in one pass where the stored type allows.
  virtual void read_less(std::uint64_t begin, std::span<const double> base,
                         std::span<double> out) const;
  /// Elements [begin, begin + count) as bfloat16, where they lie so in a file; else empty.
  [[nodiscard]] virtual Bytes bfloat16(std::uint64_t begin, std::uint64_t count) const;
  /// Elements [begin, end) will be read soon / will not be read again soon.
  virtual void prefetch(std::uint64_t begin, std::uint64_t end) const noexcept;
  virtual void release(std::uint64_t begin, std::uint64_t end) const noexcept;

 private:
  std::string label_;
  std::vector<std::int64_t> shape_;
  std::uint64_t elements_;
};

/// Throws kNumeric naming the first value of `values` that is not finite (they begin at element
/// `begin`).
[[noreturn]] void fail_not_finite(const TensorReader& reader, std::uint64_t begin,
                                  std::span<const double> values);

/// A tensor of a checkpoint, decoded from whatever type it is stored in. `source` must outlive the
/// reader.
[[nodiscard]] std::unique_ptr<TensorReader> stored_reader(const ModelSource& source,
                                                          const TensorInfo& tensor,
                                                          std::string_view model);

/// A tensor of `plain` with the change of the adapter that `adapted` lays over it, not rounded:
/// less W it is s B A, of the adapter's rank. Both must outlive the reader. stored_reader() of
/// `adapted` where the adapter has another change for it.
[[nodiscard]] std::unique_ptr<TensorReader> adapted_reader(const ModelSource& adapted,
                                                           const ModelSource& plain,
                                                           const TensorInfo& tensor,
                                                           std::string_view model);

}  // namespace lancet
