// Weights from any ModelSource into the tensors the pass computes with.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include <c10/core/InferenceMode.h>

#include "core/bytes.h"
#include "core/error.h"
#include "core/memory.h"
#include "core/parallel.h"
#include "core/text.h"
#include "model/decoder.h"
#include "model/load_options.h"
#include "model/lora.h"
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

/// A tensor that the config has no place for means that config and weights belong to different
/// models. Buffers that older versions of transformers stored mean nothing.
void check_nothing_else(const ModelSource& source, const DecoderSpec& spec,
                        const std::vector<ExpectedTensor>& tensors) {
  std::unordered_set<std::string_view> known;
  for (const ExpectedTensor& tensor : tensors) known.insert(tensor.name);
  const std::string tied = spec.names.head + ".weight";
  std::vector<std::string_view> extra;
  for (const TensorInfo& tensor : source.tensors()) {
    const bool buffer = tensor.name.ends_with(".rotary_emb.inv_freq");
    if (!known.contains(tensor.name) && !buffer && !(spec.tied_head && tensor.name == tied) &&
        !is_ignored(spec, tensor.name)) {
      extra.push_back(tensor.name);
    }
  }
  if (extra.empty()) return;
  fail(ErrorKind::kMismatch, "model",
       "expected the " + std::to_string(tensors.size()) + " tensors of a " + spec.model_type +
           " of " + std::to_string(spec.layers) + " layers, found " + std::to_string(extra.size()) +
           " more, '" + printable(extra[0]) + "' among them (" +
           source.checkpoint().path().string() + ")");
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

/// Position of the first value whose exponent bits are all set, or `count`.
template <class Word>
std::int64_t first_not_finite(const Word* bits, std::int64_t count, Word exponent) {
  constexpr std::int64_t kBlock = 1024;
  for (std::int64_t first = 0; first < count; first += kBlock) {
    const std::int64_t last = std::min(count, first + kBlock);
    Word found = 0;
    for (std::int64_t i = first; i < last; ++i)
      found = static_cast<Word>(found | ((bits[i] & exponent) == exponent ? 1 : 0));
    for (std::int64_t i = first; found != 0 && i < last; ++i) {
      if ((bits[i] & exponent) == exponent) return i;
    }
  }
  return count;
}

/// Whether a tensor of `dtype` has the bytes of one that is stored as `stored`.
bool holds(at::ScalarType dtype, DType stored) {
  return (dtype == at::kFloat && stored == DType::kF32) ||
         (dtype == at::kBFloat16 && stored == DType::kBF16) ||
         (dtype == at::kHalf && stored == DType::kF16);
}

/// Rows [first, last) as `out` wants them: stored bytes where they are of its dtype, else decoded.
void read_rows(const ModelSource& source, const TensorInfo& info, std::int64_t first,
               std::int64_t last, std::int64_t width, const at::Tensor& out) {
  const auto count = static_cast<std::size_t>((last - first) * width);
  const auto element = static_cast<std::size_t>(out.element_size());
  auto* to = static_cast<std::byte*>(out.mutable_data_ptr()) +
             static_cast<std::size_t>(first * width) * element;
  const bool same = holds(out.scalar_type(), info.dtype);
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

/// Weights that are NaN or infinite make every logit NaN: better said where they are.
/// `part`: the rows from `first` on.
void check_finite(const ModelSource& source, const TensorInfo& info, const at::Tensor& part,
                  std::int64_t first) {
  const at::Tensor flat = part.reshape({-1});
  const auto* data = flat.const_data_ptr();
  const bool wide = part.scalar_type() == at::kFloat;
  const auto narrow = static_cast<std::uint16_t>(part.scalar_type() == at::kHalf ? 0x7c00 : 0x7f80);
  const std::int64_t at =
      wide ? first_not_finite(static_cast<const std::uint32_t*>(data), flat.numel(), 0x7f800000U)
           : first_not_finite(static_cast<const std::uint16_t*>(data), flat.numel(), narrow);
  if (at == flat.numel()) return;
  fail(ErrorKind::kInput, "model",
       "expected finite weights, found " +
           std::string(std::isnan(flat[at].item<double>()) ? "NaN" : "an infinity") +
           " at element " + std::to_string(first * (flat.numel() / part.size(0)) + at) + " of '" +
           info.name + "' (" + source.checkpoint().path().string() + ")",
       "lancet inspect --stats lists such tensors");
}

/// body(first, last) for all rows of a tensor, on all threads.
template <class Body>
void for_rows(const at::Tensor& tensor, const Body& body) {
  const std::int64_t rows = tensor.size(0);
  const auto grain = static_cast<std::size_t>(kDecodeElements / (tensor.numel() / rows) + 1);
  parallel::for_chunks(static_cast<std::size_t>(rows), grain,
                       [&](std::size_t begin, std::size_t end) {
                         body(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end));
                       });
}

void read_tensor(const ModelSource& source, const TensorInfo& info, const at::Tensor& out) {
  for_rows(out, [&](std::int64_t first, std::int64_t last) {
    read_rows(source, info, first, last, out.numel() / out.size(0), out);
    check_finite(source, info, out.narrow(0, first, last - first), first);
  });
  source.release(info, 0, info.bytes);
}

/// A tensor that memory is to hold.
struct Wanted {
  const TensorInfo& info;
  std::int64_t layer;  ///< -1: of none
  at::ScalarType dtype;

  /// In the arena.
  [[nodiscard]] std::uint64_t bytes() const {
    const std::uint64_t own = info.elements() * at::elementSize(dtype);
    return (own + kAlignment - 1) / kAlignment * kAlignment;
  }
};

bool maps(const LoadOptions& options, std::uint64_t bytes) {
  if (!options.device.is_cpu()) return false;
  if (options.residence != Residence::kAuto) return options.residence == Residence::kMapped;
  return bytes > available_memory() / 2;
}

/// Puts what memory would hold as the file does into `weights`, in the mapped file, and leaves the
/// others in `wanted`.
void leave_mapped(const ModelSource& source, std::vector<Wanted>& wanted,
                  std::unordered_map<std::string, at::Tensor>& weights) {
  const auto shared = std::make_shared<const ModelSource>(source);
  std::vector<Wanted> rest;
  for (const Wanted& each : wanted) {
    const Bytes raw = shared->raw(each.info);
    const bool begins_well =
        reinterpret_cast<std::uintptr_t>(raw.data()) % at::elementSize(each.dtype) == 0;
    if (raw.empty() || !holds(each.dtype, each.info.dtype) || !begins_well) {
      rest.push_back(each);
      continue;
    }
    // Nothing writes to weights: the mapping would not let it.
    const at::Tensor weight = at::from_blob(
        const_cast<std::byte*>(raw.data()), each.info.shape, [shared](void*) {},
        at::TensorOptions(each.dtype));
    for_rows(weight, [&](std::int64_t first, std::int64_t last) {
      check_finite(source, each.info, weight.narrow(0, first, last - first), first);
    });
    weights.emplace(each.info.name, weight);
  }
  wanted = std::move(rest);
}

void fill_arena(const ModelSource& source, const std::vector<Wanted>& wanted,
                const std::function<void(const Wanted&, const at::Tensor&)>& put) {
  std::uint64_t bytes = kAlignment;
  for (const Wanted& each : wanted) bytes += each.bytes();
  const auto arena = std::make_shared<const Arena>(bytes);
  std::uint64_t offset = 0;
  for (const Wanted& each : wanted) {
    const at::Tensor weight = at::from_blob(
        arena->at(offset), each.info.shape, [arena](void*) {}, at::TensorOptions(each.dtype));
    offset += each.bytes();
    read_tensor(source, each.info, weight);
    put(each, weight);
  }
}

/// Weights that LoadOptions::quant is about.
std::unordered_set<std::string> packed_names(const DecoderSpec& spec, const LoadOptions& options) {
  std::unordered_set<std::string> out;
  if (options.quant == BaseQuant::kNone) return out;
  for (const LinearModule& module : linear_modules(spec)) out.insert(module.name + ".weight");
  return out;
}

bool packs(const TensorInfo& info, BaseQuant quant, const std::unordered_set<std::string>& names) {
  if (quant == BaseQuant::kNone || !names.contains(info.name)) return false;
  return quant != BaseQuant::kStored || dtype_info(info.dtype).quantized;
}

std::shared_ptr<const PackedMatrix> pack_tensor(const ModelSource& source, const TensorInfo& info,
                                                BaseQuant quant) {
  const std::int64_t rows = info.shape[0], columns = info.shape[1];
  std::shared_ptr<const PackedMatrix> out;
  if (quant == BaseQuant::kStored) {
    const auto bytes = dtype_bytes(info.dtype, info.elements());
    std::vector<std::byte> stored(static_cast<std::size_t>(bytes.value()));
    source.read_stored(info, 0, rows, stored);
    out = std::make_shared<PackedMatrix>(info.dtype, rows, columns, std::move(stored));
  } else {
    out = std::make_shared<PackedMatrix>(
        quant, rows, columns, [&](std::int64_t first, std::int64_t last, std::span<float> values) {
          source.read_f32(info, first, last, values);
          const at::Tensor part =
              at::from_blob(values.data(), {last - first, columns}, at::TensorOptions(at::kFloat));
          check_finite(source, info, part, first);
        });
  }
  source.release(info, 0, info.bytes);
  return out;
}

}  // namespace

DecoderSpec Decoder::describe(const ModelSource& source) {
  source.check_decodable();
  DecoderSpec spec = describe_decoder(source.config());
  const std::string embed = spec.names.embed + ".weight";
  if (source.find(embed) != nullptr) return spec;
  for (const Respelling& respelling : spec.respellings) {
    if (source.find(respelled(embed, respelling)) == nullptr) continue;
    respell(spec, Respelling(respelling));
    break;
  }
  return spec;
}

/// Into one arena, but for what stays mapped. Everything is checked before anything is allocated.
void Decoder::load_weights(const ModelSource& source, const LoadOptions& options) {
  const std::vector<ExpectedTensor> tensors = expected_tensors(*spec_);
  check_nothing_else(source, *spec_, tensors);
  const std::unordered_set<std::string> few_bits = packed_names(*spec_, options);
  std::vector<Wanted> wanted;
  std::vector<const TensorInfo*> packed;
  std::uint64_t bytes = 0, ends = 0;
  std::vector<std::uint64_t> blocks(static_cast<std::size_t>(spec_->layers));
  for (const ExpectedTensor& tensor : tensors) {
    const TensorInfo& info = expect_tensor(source, tensor);
    if (packs(info, options.quant, few_bits) || packed_.contains(info.name)) {
      packed.push_back(&info);
      continue;
    }
    wanted.push_back({info, tensor.layer, dtype_in_memory(source, info, options)});
    const std::uint64_t own = wanted.back().bytes();
    bytes += own;
    (tensor.layer < 0 ? ends : blocks[static_cast<std::size_t>(tensor.layer)]) += own;
  }
  if (options.rooms.size() > 1) places_ = place_blocks(blocks, ends, options.rooms);
  for (const TensorInfo* info : packed) {
    weights_.emplace(info->name, at::empty(info->shape, at::TensorOptions(at::kMeta)));
    if (!packed_.contains(info->name))
      packed_.emplace(info->name, pack_tensor(source, *info, options.quant));
  }
  if (maps(options, bytes)) leave_mapped(source, wanted, weights_);
  fill_arena(source, wanted, [this](const Wanted& each, const at::Tensor& weight) {
    weights_.emplace(each.info.name, weight.to(place_of(each.layer)));
  });
}

Decoder Decoder::load(const ModelSource& source, const LoadOptions& options) {
  check_load_options(options);
  const c10::InferenceMode weights_are_normal_tensors(false);
  Decoder model;
  model.spec_ = std::make_shared<const DecoderSpec>(describe(source));
  model.dtype_ = options.dtype;
  model.device_ = options.device;
  model.rows_ = options.rows;
  if (options.offload) model.leave_in_files(source);
  model.load_weights(source, options);
  std::vector<RopeCache> ropes;
  for (const RopeSpec& rope : model.spec_->ropes)
    ropes.emplace_back(rope, model.spec_->max_positions);
  model.ropes_ = std::make_shared<const std::vector<RopeCache>>(std::move(ropes));
  model.bind();
  return model;
}

}  // namespace lancet
