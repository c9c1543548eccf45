#include "formats/quant/scaled_weights.h"

#include <algorithm>
#include <array>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/quant/decode.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "model";
constexpr std::int64_t kMxBlock = 32;
constexpr std::array<std::string_view, 3> kCompressedFormats = {"float-quantized",
                                                                "naive-quantized", "int-quantized"};
/// Of activations and caches: no part of a weight.
constexpr std::array<std::string_view, 6> kOtherScales = {
    ".input_scale", "activation_scale", ".k_scale", ".v_scale", ".q_scale", ".output_scale"};

[[noreturn]] void refuse(const std::string& found) {
  fail(ErrorKind::kMismatch, kOperation,
       fmt::format("quantization_config: expected fp8, fbgemm_fp8, mxfp4 or compressed-tensors of "
                   "8 bits ({}), found {}",
                   fmt::join(kCompressedFormats, ", "), found),
       "take the model's plain weights or a GGUF of it, or decode it with the library that made "
       "it");
}

[[noreturn]] void misfit(const TensorInfo& weight, const TensorInfo& scale,
                         const std::string& expected) {
  fail(
      ErrorKind::kInput, kOperation,
      fmt::format("tensor '{}': expected {} for '{}' [{}], found [{}] of {}", printable(scale.name),
                  expected, printable(weight.name), fmt::join(weight.shape, ", "),
                  fmt::join(scale.shape, ", "), dtype_info(scale.dtype).name));
}

std::string word(const Json& object, std::string_view key) {
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? at->get<std::string>() : std::string();
}

/// compressed-tensors: 8 bits without zero points, in every group.
void check_compressed(const Json& quantization) {
  const std::string format = word(quantization, "format");
  if (std::ranges::find(kCompressedFormats, format) == kCompressedFormats.end())
    refuse(fmt::format("compressed-tensors in the format '{}'", printable(format)));
  const auto groups = quantization.find("config_groups");
  if (groups == quantization.end() || !groups->is_object()) return;
  for (const auto& [name, group] : groups->items()) {
    const Json weights = group.is_object() ? group.value("weights", Json()) : Json();
    if (!weights.is_object()) continue;
    const Json bits = weights.value("num_bits", Json(8));
    if (bits != 8 || weights.value("symmetric", Json(true)) == false)
      refuse(fmt::format("compressed-tensors of {} bits{}", bits.dump(),
                         bits == 8 ? " with zero points" : ""));
  }
}

void check_method(const Json& quantization) {
  if (!quantization.is_object()) refuse(printable(dump_json(quantization), 80));
  const std::string method = word(quantization, "quant_method");
  if (method == "compressed-tensors") return check_compressed(quantization);
  if (method != "fp8" && method != "fbgemm_fp8" && method != "mxfp4")
    refuse("'" + printable(method) + "'");
}

/// Rows and columns of a block, where the config says them: weight_block_size, or the
/// block_structure or group_size of compressed-tensors. 0 = not said.
std::array<std::int64_t, 2> block_of(const Json& quantization) {
  Json found = quantization.value("weight_block_size", Json());
  for (const auto& group : quantization.value("config_groups", Json::object())) {
    const Json weights = group.is_object() ? group.value("weights", Json()) : Json();
    if (weights.is_object() && found.is_null()) found = weights.value("block_structure", Json());
  }
  std::array<std::int64_t, 2> block{};
  if (!found.is_array() || found.size() != 2) return block;
  for (std::size_t i = 0; i < 2; ++i) {
    if (found[i].is_number_integer() && found[i].get<std::int64_t>() > 0)
      block[i] = found[i].get<std::int64_t>();
  }
  return block;
}

/// Elements that share a scale along a side of `length` with `scales` of them; 0 where they do not
/// fit.
std::int64_t block_length(std::int64_t length, std::int64_t scales, std::int64_t said) {
  if (scales == 1) return std::max<std::int64_t>(1, length);
  if (scales == length) return 1;
  if (said > 0 && (length + said - 1) / said == scales) return said;
  return said == 0 && scales > 0 && length % scales == 0 ? length / scales : 0;
}

bool is_eight_bits(DType dtype) {
  return dtype == DType::kF8E4M3 || dtype == DType::kF8E5M2 || dtype == DType::kF8E4M3Fnuz ||
         dtype == DType::kF8E5M2Fnuz || dtype == DType::kI8;
}

DType shown_dtype(const Json& config) {
  std::string said = word(config, "dtype");
  if (said.empty()) said = word(config, "torch_dtype");
  return said == "bfloat16" ? DType::kBF16 : said == "float16" ? DType::kF16 : DType::kF32;
}

std::uint64_t size_of(std::int64_t n) { return static_cast<std::uint64_t>(n); }

/// Values [first, first + count) of a plain tensor, into a buffer of the thread.
std::span<const float> decoded(const Checkpoint& checkpoint, const TensorInfo& tensor,
                               std::uint64_t first, std::uint64_t count) {
  thread_local std::vector<float> buffer;
  buffer.resize(count);
  const std::uint64_t at = dtype_bytes(tensor.dtype, first).value();
  decode_f32(tensor.dtype,
             checkpoint.data(tensor).subspan(at, dtype_bytes(tensor.dtype, count).value()), buffer);
  return buffer;
}

}  // namespace

std::shared_ptr<const ScaledWeights> ScaledWeights::open(
    std::shared_ptr<const Checkpoint> checkpoint, const Json& config) {
  check_method(config.at("quantization_config"));
  std::shared_ptr<ScaledWeights> out(new ScaledWeights(std::move(checkpoint)));
  out->collect(config);
  return out;
}

void ScaledWeights::collect(const Json& config) {
  const Json& quantization = config.at("quantization_config");
  std::set<std::string_view> parts;  // of decoded tensors
  for (const TensorInfo& tensor : checkpoint_->tensors()) {
    const std::string_view name = tensor.name;
    if (name.ends_with("_blocks") && tensor.dtype == DType::kU8) {
      const std::string base(name.substr(0, name.size() - 7));
      const TensorInfo* scales = checkpoint_->find(base + "_scales");
      if (scales == nullptr) continue;
      add_mxfp4(tensor, *scales);
      parts.insert({name, scales->name});
    } else if (is_eight_bits(tensor.dtype)) {
      const TensorInfo* scale = checkpoint_->find(tensor.name + "_scale_inv");
      if (scale == nullptr) scale = checkpoint_->find(tensor.name + "_scale");
      if (scale == nullptr) continue;
      if (checkpoint_->find(tensor.name + "_zero_point") != nullptr)
        refuse("zero points ('" + printable(tensor.name) + "_zero_point')");
      add_scaled(tensor, *scale, quantization);
      parts.insert({name, scale->name});
    }
  }
  if (entries_.empty())
    refuse("'" + word(quantization, "quant_method") + "' without a tensor that has scales");
  const DType dtype = shown_dtype(config);
  for (const TensorInfo& tensor : checkpoint_->tensors()) {
    const bool other = std::ranges::any_of(
        kOtherScales, [&](std::string_view end) { return tensor.name.ends_with(end); });
    if (!parts.contains(tensor.name) && !other) tensors_.push_back(tensor);
  }
  for (const auto& [name, entry] : entries_) {
    TensorInfo shown = entry.weight;
    shown.name = name;
    shown.dtype = dtype;
    if (entry.mxfp4) shown.shape = {entry.weight.shape[0], entry.columns, entry.rows};
    shown.bytes = dtype_bytes(dtype, shown.elements()).value();
    tensors_.push_back(std::move(shown));
  }
  std::ranges::sort(tensors_, {}, &TensorInfo::name);
}

void ScaledWeights::add_scaled(const TensorInfo& weight, const TensorInfo& scale,
                               const Json& quantization) {
  Entry entry{.weight = weight, .scale = scale};
  const std::size_t rank = weight.shape.size();
  if (rank < 2 || rank > 3 || !dtype_info(scale.dtype).floating)
    misfit(weight, scale, "scales of a matrix");
  entry.rows = weight.shape[rank - 2];
  entry.columns = weight.shape[rank - 1];
  const auto& shape = scale.shape;
  const std::array<std::int64_t, 2> said = block_of(quantization);
  if (shape.size() == rank) {
    entry.each = rank == 3 && shape[0] == weight.shape[0];
    if (rank == 3 && !entry.each && shape[0] != 1) misfit(weight, scale, "scales of each matrix");
    entry.scale_rows = shape[rank - 2];
    entry.scale_columns = shape[rank - 1];
  } else if (shape.size() == 1 && rank == 3 && shape[0] == weight.shape[0]) {
    entry.each = true;
  } else if (shape.size() == 1 && rank == 2 && shape[0] == entry.rows) {
    entry.scale_rows = entry.rows;
  } else if (scale.elements() != 1) {
    misfit(weight, scale, "a scale, one for each row or one for each block");
  }
  entry.block_rows = block_length(entry.rows, entry.scale_rows, said[0]);
  entry.block_columns = block_length(entry.columns, entry.scale_columns, said[1]);
  if (entry.block_rows == 0 || entry.block_columns == 0)
    misfit(weight, scale,
           said[0] > 0 ? fmt::format("one scale for each block of {} x {}", said[0], said[1])
                       : "blocks of equal size");
  entries_.emplace(weight.name, std::move(entry));
}

void ScaledWeights::add_mxfp4(const TensorInfo& blocks, const TensorInfo& scales) {
  const auto& shape = blocks.shape;
  const bool fits = shape.size() == 4 && shape[3] == kMxBlock / 2 && scales.shape.size() == 3 &&
                    std::equal(scales.shape.begin(), scales.shape.end(), shape.begin()) &&
                    scales.dtype == DType::kU8;
  if (!fits) misfit(blocks, scales, "a byte for each 16 of [experts, rows, blocks, 16]");
  Entry entry{.weight = blocks, .scale = scales, .mxfp4 = true};
  entry.rows = shape[1];
  entry.columns = shape[2] * kMxBlock;
  entries_.emplace(blocks.name.substr(0, blocks.name.size() - 7), std::move(entry));
}

bool ScaledWeights::decodes(std::string_view name) const noexcept {
  return entries_.find(name) != entries_.end();
}

void ScaledWeights::read(std::string_view name, std::uint64_t begin, std::span<float> out) const {
  const auto at = entries_.find(name);
  if (at == entries_.end()) fail(ErrorKind::kInternal, kOperation, "a tensor that has no scales");
  at->second.mxfp4 ? read_mxfp4(at->second, begin, out) : read_scaled(at->second, begin, out);
}

void ScaledWeights::read_scaled(const Entry& entry, std::uint64_t begin,
                                std::span<float> out) const {
  const std::uint64_t columns = size_of(entry.columns);
  const Bytes weights = checkpoint_->data(entry.weight);
  while (!out.empty()) {
    const std::uint64_t line = begin / columns, column = begin % columns;
    const std::uint64_t count = std::min<std::uint64_t>(out.size(), columns - column);
    const std::span<float> part = out.first(count);
    decode_f32(entry.weight.dtype, weights.subspan(begin, count), part);
    const std::uint64_t matrix = entry.each ? line / size_of(entry.rows) : 0;
    const std::uint64_t scale_row = line % size_of(entry.rows) / size_of(entry.block_rows);
    const std::uint64_t block = size_of(entry.block_columns);
    const std::uint64_t first = column / block, last = (column + count - 1) / block + 1;
    const std::uint64_t row_at =
        (matrix * size_of(entry.scale_rows) + scale_row) * size_of(entry.scale_columns);
    const auto scales = decoded(*checkpoint_, entry.scale, row_at + first, last - first);
    for (std::uint64_t i = 0; i < count; ++i) part[i] *= scales[(column + i) / block - first];
    begin += count;
    out = out.subspan(count);
  }
}

void ScaledWeights::read_mxfp4(const Entry& entry, std::uint64_t begin,
                               std::span<float> out) const {
  constexpr std::array<float, 16> kFp4Values = {0,     0.5F,  1,  1.5F,  2,  3,  4,  6,
                                                -0.0F, -0.5F, -1, -1.5F, -2, -3, -4, -6};
  static const std::array<float, 256> powers = [] {
    std::array<float, 256> table{};
    std::array<std::byte, 256> codes{};
    for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::byte>(i);
    decode_f32(DType::kF8E8M0, codes, table);
    return table;
  }();
  const std::uint64_t width = size_of(entry.rows), depth = size_of(entry.columns);
  const std::uint64_t groups = depth / size_of(kMxBlock);
  const Bytes blocks = checkpoint_->data(entry.weight), scales = checkpoint_->data(entry.scale);
  for (float& value : out) {
    const std::uint64_t column = begin % width, row = begin / width % depth;
    const std::uint64_t block =
        (begin / width / depth * width + column) * groups + row / size_of(kMxBlock);
    const std::uint64_t in_block = row % size_of(kMxBlock);
    const auto pair = std::to_integer<unsigned>(blocks[block * 16 + in_block / 2]);
    value = kFp4Values[in_block % 2 == 0 ? pair & 15U : pair >> 4U] *
            powers[std::to_integer<std::size_t>(scales[block])];
    ++begin;
  }
}

void ScaledWeights::release(std::string_view name, std::uint64_t begin, std::uint64_t count) const {
  const auto at = entries_.find(name);
  if (at == entries_.end()) return;
  const TensorInfo& weight = at->second.weight;
  // MXFP4's rows lie across the whole tensor.
  const bool whole = at->second.mxfp4;
  checkpoint_->files()[weight.file].release(weight.offset + (whole ? 0 : begin),
                                            whole ? weight.bytes : count);
}

std::string quantization_text(const Json& quantization) {
  if (!quantization.is_object()) return printable(dump_json(quantization), 80);
  std::string out = printable(word(quantization, "quant_method"), 40);
  if (const std::string format = word(quantization, "format"); !format.empty())
    out += ", " + printable(format, 40);
  const auto block = block_of(quantization);
  if (block[0] > 0) out += fmt::format(", blocks of {} x {}", block[0], block[1]);
  const Json bits = quantization.value("bits", Json());
  if (bits.is_number_integer()) out += fmt::format(", {} bits", bits.dump());
  return out.empty() ? "unnamed" : out;
}

}  // namespace lancet
