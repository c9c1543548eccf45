// A GGUF as transformers has it: names, shapes, the order of rows, stacked experts.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/config/from_gguf.h"
#include "formats/config/rope_scaling.h"
#include "formats/model_source.h"
#include "formats/model_source_parts.h"
#include "formats/quant/decode.h"
#include "formats/quant/scaled_weights.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "model";

std::string shown(const Checkpoint& checkpoint) {
  return printable(checkpoint.path().string(), 400);
}

/// Whether two tensors make up one of transformers'.
bool fits(RowOrder order, const TensorInfo& first, const TensorInfo& second) {
  const auto& a = first.shape;
  const auto& b = second.shape;
  if (order == RowOrder::kLatentKv)
    return a.size() == 3 && b.size() == 3 && a[0] == b[0] && a[1] == b[2] && first.elements() > 0 &&
           second.elements() > 0;
  return a == b && (a.size() == 2 || a.size() == 3);
}

}  // namespace

TensorRows rows_of(const TensorInfo& tensor) {
  TensorRows rows;
  if (tensor.shape.empty()) return rows;
  rows.count = static_cast<std::uint64_t>(tensor.shape[0]);
  for (std::size_t i = 1; i < tensor.shape.size(); ++i)
    rows.width *= static_cast<std::uint64_t>(tensor.shape[i]);
  return rows;
}

void decode_elements(DType dtype, Bytes data, std::uint64_t total, std::uint64_t begin,
                     std::span<float> out) {
  const DTypeInfo& info = dtype_info(dtype);
  const std::uint64_t unit = info.block_bits % 8 != 0 ? 8 : info.block;  // fills whole bytes
  const std::uint64_t from = begin / unit * unit;
  const std::uint64_t to = std::min(total, (begin + out.size() + unit - 1) / unit * unit);
  const std::uint64_t at = dtype_bytes(dtype, from).value();
  const Bytes in = data.subspan(at, dtype_bytes(dtype, to).value() - at);
  if (from == begin && to == begin + out.size()) {
    decode_f32(dtype, in, out);
    return;
  }
  std::vector<float> whole(to - from);
  decode_f32(dtype, in, whole);
  std::copy_n(whole.begin() + static_cast<std::ptrdiff_t>(begin - from), out.size(), out.begin());
}

void ModelSource::open_gguf() {
  const GgufHeader& header = *checkpoint_->gguf();
  const std::string architecture = header.string("general.architecture");
  const bool experts = header.integer(architecture + ".expert_count", 0) > 0;
  const bool sigmoid = header.integer(architecture + ".expert_gating_func", 0) == 2;
  const NameFamily* family = family_of_gguf(architecture, experts, sigmoid);
  if (family == nullptr || header.string("general.type", "model") != "model") {
    fail(ErrorKind::kMismatch, kOperation,
         fmt::format("{}: expected a model of a known architecture, found {} '{}'",
                     shown(*checkpoint_), printable(header.string("general.type", "model")),
                     printable(architecture)),
         fmt::format("known GGUF architectures: {}", known_gguf_architectures()));
  }
  config_ = config_from_gguf(*checkpoint_, *family);
  const GgufSizes sizes = sizes_from_gguf(*checkpoint_, *family);
  std::vector<std::pair<TensorInfo, Place>> mapped;
  for (const TensorInfo& tensor : checkpoint_->tensors()) {
    if (is_rope_tensor(tensor.name)) continue;  // said by config.json
    const auto name = gguf_to_hf_name(*family, tensor.name, [&](std::string_view other) {
      return checkpoint_->find(other) != nullptr;
    });
    if (!name) {
      fail(ErrorKind::kMismatch, kOperation,
           fmt::format("{}: tensor '{}' has no place in the architecture {}", shown(*checkpoint_),
                       printable(tensor.name), architecture));
    }
    if (name->is_second) continue;  // read with the first
    for (TensorInfo& own : as_transformers(tensor, *name)) {
      const Place place = place_of(tensor, *name, sizes);
      mapped.emplace_back(std::move(own), place);
    }
  }
  std::ranges::sort(mapped,
                    [](const auto& a, const auto& b) { return a.first.name < b.first.name; });
  for (auto& [tensor, place] : mapped) {
    tensors_.push_back(std::move(tensor));
    places_.push_back(place);
  }
}

/// The tensors of transformers that a GGUF tensor holds: one, or one for each expert.
std::vector<TensorInfo> ModelSource::as_transformers(const TensorInfo& tensor,
                                                     const MappedName& name) const {
  const NameRule& rule = *name.rule;
  std::vector<TensorInfo> out(1, tensor);
  out[0].name = name.name;
  if (rule.shape == HfShape::kRow && tensor.shape.size() == 1)
    out[0].shape.insert(out[0].shape.begin(), 1);
  if (rule.shape == HfShape::kChannels && tensor.shape.size() == 2)
    out[0].shape.insert(out[0].shape.begin() + 1, 1);
  if (rule.rows == RowOrder::kTransposed && tensor.shape.size() == 2)
    std::swap(out[0].shape[0], out[0].shape[1]);
  if (rule.rows == RowOrder::kGateUp && tensor.shape.size() > 1) out[0].shape[1] *= 2;
  if ((rule.rows == RowOrder::kGateUp || rule.rows == RowOrder::kExperts) &&
      tensor.shape.size() == 3)
    std::swap(out[0].shape[1], out[0].shape[2]);
  const TensorInfo* second = name.second.empty() ? nullptr : checkpoint_->find(name.second);
  if (rule.rows == RowOrder::kLatentKv && second != nullptr && fits(rule.rows, tensor, *second))
    out[0].shape = {tensor.shape[0] * (tensor.shape[2] + second->shape[1]), tensor.shape[1]};
  if (!rule.stacked()) return out;
  if (tensor.shape.size() < 2 || tensor.shape[0] < 1 ||
      tensor.bytes % static_cast<std::uint64_t>(tensor.shape[0]) != 0) {
    fail(ErrorKind::kInput, kOperation,
         fmt::format("{}: tensor '{}': expected a matrix for each expert", shown(*checkpoint_),
                     printable(tensor.name)));
  }
  const auto experts = static_cast<std::uint64_t>(tensor.shape[0]);
  TensorInfo one = out[0];
  one.shape.erase(one.shape.begin());
  one.bytes /= experts;
  out.clear();
  for (std::uint64_t e = 0; e < experts; ++e) {
    TensorInfo each = one;
    each.name.replace(each.name.find("{}"), 2, std::to_string(e));
    each.offset += e * one.bytes;
    out.push_back(std::move(each));
  }
  return out;
}

/// How a GGUF tensor lies; kInput where its rows are not those of the model's heads.
ModelSource::Place ModelSource::place_of(const TensorInfo& tensor, const MappedName& name,
                                         const GgufSizes& sizes) const {
  const NameRule& rule = *name.rule;
  Place place{.values = rule.values};
  if (!name.second.empty()) {
    const TensorInfo* second = checkpoint_->find(name.second);
    if (second == nullptr || !fits(rule.rows, tensor, *second)) {
      fail(ErrorKind::kInput, kOperation,
           fmt::format("{}: tensor '{}': expected '{}' of a shape that fits beside it",
                       shown(*checkpoint_), printable(tensor.name), name.second));
    }
    place.second = std::make_shared<const TensorInfo>(*second);
  }
  const std::int64_t rows = tensor.shape.empty() ? 0 : tensor.shape[0];
  std::int64_t expected = rows;
  if (rule.rows == RowOrder::kQueryHeads || rule.rows == RowOrder::kKeyHeads) {
    const std::int64_t heads = rule.rows == RowOrder::kQueryHeads ? sizes.heads : sizes.kv_heads;
    if (rows % (2 * heads) != 0 || rows == 0) expected = heads * sizes.head_dim;
    place.head_dim = rows / heads;
  } else if (rule.rows == RowOrder::kGroupedQkv) {
    expected = (sizes.heads + 2 * sizes.kv_heads) * sizes.head_dim;
    place.head_dim = sizes.head_dim;
    place.kv_heads = sizes.kv_heads;
    place.group = sizes.heads / sizes.kv_heads;
  }
  const bool flat = (rule.rows == RowOrder::kTransposed && tensor.shape.size() != 2) ||
                    (rule.rows == RowOrder::kExperts && tensor.shape.size() != 3);
  place.order = flat ? RowOrder::kSame : rule.rows;
  if (rows != expected) {
    fail(ErrorKind::kInput, kOperation,
         fmt::format("{}: tensor '{}': expected {} rows for heads of even width, found {}",
                     shown(*checkpoint_), printable(tensor.name), expected, rows));
  }
  return place;
}

const ModelSource::Place& ModelSource::place(const TensorInfo& tensor) const {
  const TensorInfo* own = find(tensor.name);
  if (own == nullptr) fail(ErrorKind::kInternal, kOperation, "a tensor of another model");
  static const Place as_stored{};
  return places_.empty() ? as_stored : places_[static_cast<std::size_t>(own - tensors_.data())];
}

std::int64_t ModelSource::permuted_head_dim(const TensorInfo& tensor) const {
  const Place& own = place(tensor);
  const bool heads = own.order == RowOrder::kQueryHeads || own.order == RowOrder::kKeyHeads;
  return heads ? own.head_dim : 0;
}

/// Elements without an adapter, by one thread.
void ModelSource::read_range(const TensorInfo& tensor, std::uint64_t begin,
                             std::span<float> out) const {
  if (scaled_ && scaled_->decodes(tensor.name)) return scaled_->read(tensor.name, begin, out);
  const Place& own = place(tensor);
  if (own.order == RowOrder::kTransposed || own.order == RowOrder::kExperts ||
      own.order == RowOrder::kGateUp)
    return read_turned(tensor, begin, out);
  if (own.order == RowOrder::kLatentKv) return read_latent(tensor, begin, out);
  const Bytes data = checkpoint_->data(tensor);
  const std::uint64_t total = tensor.elements();
  if (own.order == RowOrder::kSame) {
    decode_elements(tensor.dtype, data, total, begin, out);
    if (own.values == ValueMap::kSame) return;
    for (float& value : out) value = hf_value(own.values, value);
    return;
  }
  const std::uint64_t width = rows_of(*find(tensor.name)).width;
  while (!out.empty()) {
    const std::uint64_t column = begin % width;
    const std::uint64_t count = std::min<std::uint64_t>(out.size(), width - column);
    const std::uint64_t stored = own.stored_row(begin / width);
    decode_elements(tensor.dtype, data, total, stored * width + column, out.first(count));
    begin += count;
    out = out.subspan(count);
  }
}

/// Elements of a matrix, or of a stack of them, whose rows are columns in the file, of one tensor
/// or of two in turns: runs of as many rows as are asked for.
void ModelSource::read_turned(const TensorInfo& tensor, std::uint64_t begin,
                              std::span<float> out) const {
  if (out.empty()) return;
  const std::vector<std::int64_t>& shape = find(tensor.name)->shape;
  const Place& own = place(tensor);
  const std::uint64_t parts = own.second == nullptr ? 1 : 2;
  const auto width = static_cast<std::uint64_t>(shape.back());
  // Two dimensions are one matrix, but for vectors of experts.
  const std::uint64_t rows =
      shape.size() == 2 && parts == 2 ? 1 : static_cast<std::uint64_t>(shape[shape.size() - 2]);
  const std::uint64_t end = begin + out.size(), size = rows * width;
  std::vector<float> run;
  for (std::uint64_t at = begin; at < end; at = (at / size + 1) * size) {
    const std::uint64_t matrix = at / size * size, limit = std::min(end, matrix + size);
    const std::uint64_t first = (at - matrix) / width, last = (limit - matrix + width - 1) / width;
    run.resize(last - first);
    for (std::uint64_t column = 0; column < width; ++column) {
      const TensorInfo& stored = column % parts == 0 ? tensor : *own.second;
      decode_elements(stored.dtype, checkpoint_->data(stored), tensor.elements() / parts,
                      matrix / parts + column / parts * rows + first, run);
      for (std::uint64_t row = first; row < last; ++row) {
        const std::uint64_t place = matrix + row * width + column;
        if (place >= at && place < limit) out[place - begin] = run[row - first];
      }
    }
  }
}

/// Elements of kLatentKv, by heads: all keys of a head are decoded for any of them.
void ModelSource::read_latent(const TensorInfo& tensor, std::uint64_t begin,
                              std::span<float> out) const {
  const std::vector<std::int64_t>& shape = find(tensor.name)->shape;
  const TensorInfo& values = *place(tensor).second;
  const auto rank = static_cast<std::uint64_t>(shape[1]);
  const auto heads = static_cast<std::uint64_t>(values.shape[0]);
  const auto value_rows = static_cast<std::uint64_t>(values.shape[1]);
  const std::uint64_t rows = static_cast<std::uint64_t>(shape[0]) / heads;
  const std::uint64_t keys = rows - value_rows;
  std::vector<float> turned;  // [rank, keys] of head `decoded`
  std::uint64_t decoded = heads;
  while (!out.empty()) {
    const std::uint64_t row = begin / rank, column = begin % rank;
    const std::uint64_t count = std::min<std::uint64_t>(out.size(), rank - column);
    const std::uint64_t head = row / rows, own = row % rows;
    if (own >= keys) {
      decode_elements(values.dtype, checkpoint_->data(values), values.elements(),
                      (head * value_rows + own - keys) * rank + column, out.first(count));
    } else {
      if (head != decoded) {
        turned.resize(rank * keys);
        decode_elements(tensor.dtype, checkpoint_->data(tensor), heads * rank * keys,
                        head * rank * keys, turned);
        decoded = head;
      }
      for (std::uint64_t i = 0; i < count; ++i) out[i] = turned[(column + i) * keys + own];
    }
    begin += count;
    out = out.subspan(count);
  }
}

std::uint64_t ModelSource::Place::stored_row(std::uint64_t row) const noexcept {
  const auto own = static_cast<std::int64_t>(row);
  return static_cast<std::uint64_t>(order == RowOrder::kGroupedQkv
                                        ? gguf_qkv_row(own, head_dim, group, kv_heads)
                                        : gguf_row(own, head_dim));
}

}  // namespace lancet
