// Weights from any ModelSource into the tensors the pass computes with.

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include <sys/mman.h>

#include <c10/core/InferenceMode.h>

#include "core/bytes.h"
#include "core/error.h"
#include "core/parallel.h"
#include "model/decoder.h"
#include "model/names.h"

namespace lancet {
namespace {

constexpr std::int64_t kDecodeElements = 1 << 18;  ///< decoded at once by one thread

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string out = "[";
  for (const std::int64_t d : shape) out += (out.size() == 1 ? "" : ", ") + std::to_string(d);
  return out + "]";
}

const TensorInfo& expect_tensor(const ModelSource& source, const ExpectedTensor& expected) {
  const TensorInfo* info = source.find(expected.name);
  if (info == nullptr) {
    fail(ErrorKind::kMismatch, "model",
         "expected tensor '" + expected.name + "' " + shape_text(expected.shape) +
             ", found none (" + source.checkpoint().path().string() + ")");
  }
  if (info->shape != expected.shape) {
    fail(ErrorKind::kMismatch, "model",
         "expected tensor '" + expected.name + "' " + shape_text(expected.shape) + ", found " +
             shape_text(info->shape) + " (" + source.checkpoint().path().string() + ")");
  }
  return *info;
}

/// One allocation for all weights, in huge pages where the system has them: a token reads every
/// weight once, and with 4 KiB pages address translation and prefetching that ends at page borders
/// cost a third of the memory's speed.
class Arena {
 public:
  explicit Arena(std::size_t bytes) : bytes_(bytes) {
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) {
      fail(ErrorKind::kResource, "model",
           "expected " + human_bytes(bytes) + " of memory for the weights, found less");
    }
    data_ = static_cast<std::byte*>(at);
    ::madvise(at, bytes, MADV_HUGEPAGE);
  }
  ~Arena() { ::munmap(data_, bytes_); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  [[nodiscard]] void* at(std::size_t offset) const noexcept { return data_ + offset; }

 private:
  std::size_t bytes_;
  std::byte* data_ = nullptr;
};

constexpr std::size_t kAlignment = 64;

std::size_t aligned_bytes(const ExpectedTensor& tensor, at::ScalarType dtype) {
  std::size_t bytes = at::elementSize(dtype);
  for (const std::int64_t d : tensor.shape) bytes *= static_cast<std::size_t>(d);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// Rows [first, last) as `out` wants them: stored bytes where they are of its dtype, else decoded.
void read_rows(const ModelSource& source, const TensorInfo& info, std::int64_t first,
               std::int64_t last, std::int64_t width, const at::Tensor& out) {
  const auto count = static_cast<std::size_t>((last - first) * width);
  const auto element = static_cast<std::size_t>(out.element_size());
  auto* to = static_cast<std::byte*>(out.mutable_data_ptr()) +
             static_cast<std::size_t>(first * width) * element;
  const bool same = (out.scalar_type() == at::kFloat && info.dtype == DType::kF32) ||
                    (out.scalar_type() == at::kBFloat16 && info.dtype == DType::kBF16);
  if (const Bytes raw = same ? source.raw(info) : Bytes(); !raw.empty()) {
    std::memcpy(to, raw.data() + static_cast<std::size_t>(first * width) * element,
                count * element);
  } else if (out.scalar_type() == at::kFloat) {
    source.read_f32(info, first, last, {reinterpret_cast<float*>(to), count});
  } else {
    std::vector<float> wide(count);
    source.read_f32(info, first, last, wide);
    std::copy(wide.begin(), wide.end(), reinterpret_cast<at::BFloat16*>(to));
  }
}

void read_tensor(const ModelSource& source, const TensorInfo& info, const at::Tensor& out) {
  const std::int64_t rows = out.size(0);
  const std::int64_t width = out.numel() / rows;
  const auto grain = static_cast<std::size_t>(kDecodeElements / width + 1);
  parallel::for_chunks(static_cast<std::size_t>(rows), grain,
                       [&](std::size_t begin, std::size_t end) {
                         read_rows(source, info, static_cast<std::int64_t>(begin),
                                   static_cast<std::int64_t>(end), width, out);
                       });
  source.release(info, 0, info.bytes);
}

}  // namespace

Decoder Decoder::load(const ModelSource& source, const LoadOptions& options) {
  if (options.dtype != at::kFloat && options.dtype != at::kBFloat16) {
    fail(ErrorKind::kUsage, "model", "expected dtype float32 or bfloat16");
  }
  const c10::InferenceMode weights_are_normal_tensors(false);
  Decoder model;
  model.spec_ = std::make_shared<const DecoderSpec>(describe_decoder(source.config()));
  model.dtype_ = options.dtype;
  model.device_ = options.device;
  // Everything is checked before anything is allocated.
  const std::vector<ExpectedTensor> tensors = expected_tensors(*model.spec_);
  const auto dtype_of = [&](const ExpectedTensor& tensor) {
    const bool vector_on_cpu = tensor.shape.size() == 1 && options.device.is_cpu();
    return vector_on_cpu ? at::kFloat : options.dtype;
  };
  std::size_t bytes = 0;
  for (const ExpectedTensor& tensor : tensors) {
    static_cast<void>(expect_tensor(source, tensor));
    bytes += aligned_bytes(tensor, dtype_of(tensor));
  }
  const auto arena = std::make_shared<const Arena>(bytes);
  std::size_t offset = 0;
  for (const ExpectedTensor& tensor : tensors) {
    const at::ScalarType dtype = dtype_of(tensor);
    const at::Tensor weight = at::from_blob(
        arena->at(offset), tensor.shape, [arena](void*) {}, at::TensorOptions(dtype));
    offset += aligned_bytes(tensor, dtype);
    read_tensor(source, expect_tensor(source, tensor), weight);
    model.weights_.emplace(tensor.name, weight.to(options.device));
  }
  model.rope_ = std::make_shared<const RopeCache>(model.spec_->rope, model.spec_->max_positions);
  model.bind();
  return model;
}

}  // namespace lancet
