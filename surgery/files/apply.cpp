// Formulas, per stage s with its columns c:  W <- round( W + sum_c left[:, c] right[:, c]^T )
// Precision: float64 sums in column order; one rounding to the stored dtype, to nearest even.
#include "surgery/files/apply.h"

#include <atomic>
#include <bit>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/seconds.h"
#include "core/text.h"
#include "formats/copy_memory.h"
#include "formats/quant/decode.h"
#include "surgery/files/conflicts.h"
#include "surgery/files/sketch.h"
#include "surgery/files/undo.h"

namespace lancet {
namespace {

constexpr std::size_t kReadBlock = 1 << 22;  ///< elements decoded at a time
constexpr std::size_t kRowGrain = 16;  ///< rows of a block: chunk borders do not depend on threads

/// Nearest float32 to odd: a later rounding to 16 bits is then the correct rounding of `value`.
float round_to_odd(double value) {
  const float nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || !std::isfinite(nearest)) return nearest;
  const float down = std::fabs(static_cast<double>(nearest)) > std::fabs(value)
                         ? std::nextafterf(nearest, 0.0F)
                         : nearest;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(down) | 1U);
}

double load_value(DType dtype, const std::byte* at) {
  switch (dtype) {
    case DType::kF16:
      return static_cast<double>(f16_to_f32(load_le<std::uint16_t>(at)));
    case DType::kBF16:
      return static_cast<double>(bf16_to_f32(load_le<std::uint16_t>(at)));
    default:
      return static_cast<double>(load_le<float>(at));
  }
}

/// Rounds once and returns what was stored; infinite when the dtype cannot hold the value.
double store_value(DType dtype, double value, std::byte* at) {
  if (dtype == DType::kF32) {
    store_le(at, static_cast<float>(value));
  } else if (dtype == DType::kF16) {
    store_le(at, f32_to_f16(round_to_odd(value)));
  } else {
    store_le(at, f32_to_bf16(round_to_odd(value)));
  }
  return load_value(dtype, at);
}

void check_editable(const PlainTensor& base, const LedgerTensor& info) {
  if (base.dtype != DType::kF32 && base.dtype != DType::kF16 && base.dtype != DType::kBF16) {
    fail(ErrorKind::kMismatch, "apply",
         fmt::format("tensor '{}': expected F32, F16 or BF16, found {}", info.name,
                     dtype_info(base.dtype).name));
  }
  const bool out_in = info.layout == MatrixLayout::kOutIn;
  const std::vector<std::int64_t> expected{out_in ? info.d_out : info.d_in,
                                           out_in ? info.d_in : info.d_out};
  if (base.shape != expected) {
    fail(ErrorKind::kMismatch, "apply",
         fmt::format("tensor '{}': expected shape [{}], found [{}]", info.name,
                     fmt::join(expected, ", "), fmt::join(base.shape, ", ")),
         "is this the model the delta was made for?");
  }
}

/// [rows, rank] -> one column as a contiguous vector.
std::vector<double> column_of(const std::vector<float>& values, std::int64_t rank,
                              std::int64_t column) {
  std::vector<double> out;
  out.reserve(values.size() / static_cast<std::size_t>(rank));
  for (auto i = static_cast<std::size_t>(column); i < values.size();
       i += static_cast<std::size_t>(rank)) {
    out.push_back(static_cast<double>(values[i]));
  }
  return out;
}

struct Column {
  std::vector<double> rows, columns;  ///< along the stored rows and along the stored columns
};

std::vector<Column> stage_columns(const LedgerTensor& info, const DeltaTensor& factors,
                                  const Ledger& ledger, std::int64_t stage) {
  std::vector<Column> out;
  for (const EditRecord& edit : ledger.edits) {
    const auto found = edit.columns.find(info.name);
    if (edit.stage != stage || found == edit.columns.end()) continue;
    for (std::int64_t c = found->second.first; c < found->second.second; ++c) {
      Column column{column_of(factors.left, factors.rank, c),
                    column_of(factors.right, factors.rank, c)};
      if (info.layout == MatrixLayout::kInOut) std::swap(column.rows, column.columns);
      out.push_back(std::move(column));
    }
  }
  return out;
}

/// Adds the columns to rows [begin, end) in place; false when a value is not finite any more.
bool add_rows(PlainTensor& tensor, const std::vector<Column>& columns, std::size_t begin,
              std::size_t end) {
  const auto width = static_cast<std::size_t>(tensor.shape[1]);
  const std::size_t size = dtype_bytes(tensor.dtype, 1).value();
  std::vector<double> row(width);
  bool finite = true;
  for (std::size_t r = begin; r < end; ++r) {
    std::byte* at = tensor.bytes.data() + r * width * size;
    for (std::size_t j = 0; j < width; ++j) row[j] = load_value(tensor.dtype, at + j * size);
    for (const Column& column : columns) {
      const double factor = column.rows[r];
      for (std::size_t j = 0; j < width; ++j) row[j] += factor * column.columns[j];
    }
    for (std::size_t j = 0; j < width; ++j) {
      finite = std::isfinite(store_value(tensor.dtype, row[j], at + j * size)) && finite;
    }
  }
  return finite;
}

/// Checks that `info` was computed on the model's own tensor, or on its state after the deltas
/// before. Where only the hash differs and the sketch does not, it is the same matrix in another
/// precision.
void check_base(const LedgerTensor& info, const PlainTensor& original, const PlainTensor& current,
                std::string_view delta, bool force) {
  const std::string own = plain_sha256(original);
  if (info.base_sha256 == own || info.base_sha256 == plain_sha256(current)) return;
  if (!info.base_sketch.empty()) {
    const double apart = std::min(sketch_distance(info.base_sketch, sketch_plain(original)),
                                  sketch_distance(info.base_sketch, sketch_plain(current)));
    if (apart <= kSamePrecision) {
      log::warn(fmt::format(
          "tensor '{}' has other bytes than the base of {}, but nearly the same values (apart by "
          "{:.2g}): taken as another precision of it",
          info.name, delta, apart));
      return;
    }
  }
  if (force) return;
  fail(ErrorKind::kMismatch, "apply",
       fmt::format("tensor '{}': expected the base with SHA-256 {}, found {} ({})", info.name,
                   info.base_sha256, own, delta),
       "the delta was made for another model; --force applies it all the same");
}

}  // namespace

PlainTensor read_plain(const ModelSource& source, const std::string& name,
                       std::optional<DType> dtype) {
  const TensorInfo& info = source.at(name);
  PlainTensor out;
  out.shape = info.shape;
  const bool quantized = dtype_info(info.dtype).quantized;
  out.dtype = dtype.value_or(quantized ? DType::kF32 : info.dtype);
  const std::uint64_t elements = info.elements();
  const auto size = dtype_bytes(out.dtype, elements);
  if (!size) fail(ErrorKind::kInput, "apply", fmt::format("tensor '{}': its size overflows", name));
  const Bytes raw = source.raw(info);
  if (out.dtype == info.dtype && !raw.empty()) {
    out.bytes.assign(raw.begin(), raw.end());
    return out;
  }
  out.bytes.resize(*size);
  const std::uint64_t rows = info.shape.empty() ? 1 : static_cast<std::uint64_t>(info.shape[0]);
  const std::uint64_t width = rows == 0 ? 0 : elements / rows;
  const std::uint64_t step = std::max<std::uint64_t>(1, width == 0 ? 1 : kReadBlock / width);
  std::vector<float> block;
  for (std::uint64_t row = 0; row < rows; row += step) {
    const std::uint64_t end = std::min(rows, row + step);
    block.resize((end - row) * width);
    source.read_f32(info, static_cast<std::int64_t>(row), static_cast<std::int64_t>(end), block);
    const std::uint64_t element = dtype_bytes(out.dtype, 1).value();
    encode_f32(out.dtype, block,
               std::span(out.bytes).subspan(row * width * element, block.size() * element));
  }
  return out;
}

std::string plain_sha256(const PlainTensor& tensor) { return sha256_hex(Bytes(tensor.bytes)); }

double plain_norm(const PlainTensor& tensor) {
  const std::size_t size = dtype_bytes(tensor.dtype, 1).value();
  const std::size_t count = tensor.bytes.size() / size;
  return std::sqrt(parallel::sum_chunks(count, 1 << 16, [&](std::size_t begin, std::size_t end) {
    double sum = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const double v = load_value(tensor.dtype, tensor.bytes.data() + i * size);
      sum += v * v;
    }
    return sum;
  }));
}

std::vector<float> plain_values(const PlainTensor& tensor) {
  std::vector<float> values(tensor.bytes.size() / dtype_bytes(tensor.dtype, 1).value());
  decode_f32(tensor.dtype, tensor.bytes, values);
  return values;
}

EditStack open_stack(const ModelSource& source, std::optional<DType> dtype) {
  const fs::path model = source.checkpoint().path();
  if (!fs::exists(undo_path(model)) || !fs::exists(delta_path(model))) return {};
  EditStack stack;
  stack.delta = load_delta(delta_path(model));
  for (UndoTensor& tensor : load_undo(undo_path(model)).tensors) {
    // A model whose tensors were changed by something else since then starts a new history.
    if (stack.delta.find(tensor.name) == nullptr || source.find(tensor.name) == nullptr) return {};
    if (plain_sha256(read_plain(source, tensor.name)) != tensor.edited_sha256) return {};
    stack.changed[tensor.name] = {tensor.name, std::move(tensor.original),
                                  read_plain(source, tensor.name, dtype)};
  }
  return stack.changed.size() == stack.delta.tensors.size() ? std::move(stack) : EditStack{};
}

std::vector<std::string> push_delta(EditStack& stack, const ModelSource& source, const Delta& delta,
                                    std::string_view name, bool force, std::optional<DType> dtype) {
  for (std::size_t i = 0; i < delta.tensors.size(); ++i) {
    const LedgerTensor& info = delta.ledger.tensors[i];
    const auto [at, fresh] = stack.changed.try_emplace(info.name);
    if (fresh) {
      PlainTensor base = read_plain(source, info.name, dtype);
      at->second = {info.name, base, base};
    }
    check_base(info, read_plain(source, info.name), at->second.edited, name, force);
    at->second.edited = apply_to_tensor(at->second.edited, info, delta.tensors[i], delta.ledger);
  }
  const std::size_t before = stack.delta.ledger.edits.size();
  stack.delta = append_delta(stack.delta, delta);
  std::vector<std::string> ids;
  for (std::size_t i = before; i < stack.delta.ledger.edits.size(); ++i)
    ids.push_back(stack.delta.ledger.edits[i].id);
  return ids;
}

PlainTensor apply_to_tensor(const PlainTensor& base, const LedgerTensor& info,
                            const DeltaTensor& factors, const Ledger& ledger) {
  check_editable(base, info);
  PlainTensor out = base;
  for (std::size_t stage = 0; stage < ledger.stages.size(); ++stage) {
    const auto columns = stage_columns(info, factors, ledger, static_cast<std::int64_t>(stage));
    if (columns.empty()) continue;
    std::atomic<bool> finite{true};
    parallel::for_chunks(static_cast<std::size_t>(out.shape[0]), kRowGrain,
                         [&](std::size_t begin, std::size_t end) {
                           if (!add_rows(out, columns, begin, end)) finite = false;
                         });
    if (!finite) {
      fail(ErrorKind::kNumeric, "apply",
           fmt::format("tensor '{}': a value leaves the range of {}", info.name,
                       dtype_info(out.dtype).name));
    }
  }
  return out;
}

std::vector<WrittenFile> write_edited(const ModelSource& source, const fs::path& out,
                                      const std::vector<ChangedTensor>& changed, const Delta& delta,
                                      const ApplyOptions& options, const Json& manifest) {
  std::map<std::string, const ChangedTensor*> by_name;
  UndoFile undo{delta.ledger, {}};
  for (const ChangedTensor& tensor : changed) {
    by_name[tensor.name] = &tensor;
    if (delta.find(tensor.name) == nullptr) continue;  // original again: nothing to undo
    undo.tensors.push_back({tensor.name, tensor.original, plain_sha256(tensor.edited)});
  }
  std::vector<OutputTensor> tensors;
  for (const TensorInfo& info : source.tensors()) {
    const auto found = by_name.find(info.name);
    if (found == by_name.end()) {
      tensors.push_back(copy_tensor(source, info, options.dtype));
      continue;
    }
    const PlainTensor* edited = &found->second->edited;
    tensors.push_back({info.name, edited->dtype, edited->shape,
                       [edited](const std::function<void(Bytes)>& emit) { emit(edited->bytes); }});
  }
  WriteOptions write;
  write.force = options.force;
  write.manifest = manifest;
  std::map<std::string, std::function<void(const fs::path&)>> extra;
  if (!delta.ledger.edits.empty()) {
    extra[std::string(kDeltaFile)] = [&](const fs::path& path) { save_delta(path, delta); };
    extra[std::string(kUndoFile)] = [&](const fs::path& path) { save_undo(path, undo); };
  }
  return write_model(out, std::move(tensors), source.side_files(), write, extra);
}

Json manifest_of(const Json& command) {
  return {{"command", command},
          {"seed", command.is_object() ? command.value("seed", Json()) : Json()}};
}

void check_edited_output(std::string_view operation, const fs::path& out, const fs::path& model,
                         std::vector<fs::path> others, Replace replace) {
  const ModelPath path = split_model_path(model);
  std::error_code ignored;
  if (!fs::equivalent(out, path.model, ignored)) others.push_back(path.model);
  others.push_back(path.adapter);
  check_place(operation, out, OutputKind::kModel, others, replace);
}

Json apply_delta(const fs::path& model, const std::vector<fs::path>& deltas, const fs::path& out,
                 const ApplyOptions& options) {
  const Timer timer;
  check_edited_output("apply", out, model, deltas, replaces(options.force, options.plan));
  const ModelSource source = ModelSource::open(model);
  EditStack stack = open_stack(source, options.dtype);
  std::vector<std::string> ids;
  for (const fs::path& path : deltas) {
    const auto pushed =
        push_delta(stack, source, load_delta(path), path.string(), options.force, options.dtype);
    ids.insert(ids.end(), pushed.begin(), pushed.end());
  }
  if (!options.force) check_conflicts(stack.delta.ledger);

  Json result{{"output", out.string()}, {"edits", ids}, {"tensors", Json::array()}};
  std::vector<ChangedTensor> list;
  std::uint64_t held = 0;
  for (auto& [name, tensor] : stack.changed) {
    const DeltaTensor* factors = stack.delta.find(name);
    result["tensors"].push_back(
        {{"name", name},
         {"rank", factors->rank},
         {"rel_norm", delta_norm(*factors) / std::max(plain_norm(tensor.original), 1e-30)}});
    held += tensor.original.bytes.size() + tensor.edited.bytes.size();
    list.push_back(std::move(tensor));
  }
  std::uint64_t bytes = held / 2;
  for (const TensorInfo& info : source.tensors()) {
    const DType dtype =
        options.dtype.value_or(dtype_info(info.dtype).quantized ? DType::kF32 : info.dtype);
    bytes += dtype_bytes(dtype, info.elements()).value_or(info.bytes);
  }
  result["bytes"] = bytes;
  if (options.plan) {
    result["plan"] = true;
    result["peak_memory"] =
        held + copying_memory(out, bytes, source.side_files(), options.dtype.has_value());
    return result;
  }
  Json manifest = manifest_of(options.command);
  manifest["edits"] = ids;
  manifest["inputs"] = Json::array({input_model(model)});
  for (const fs::path& path : deltas) manifest["inputs"].push_back(input_file(path));
  result["outputs"] = Json::array();
  for (const WrittenFile& file : write_edited(source, out, list, stack.delta, options, manifest)) {
    result["outputs"].push_back(
        {{"path", file.path.string()}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  result["seconds"] = timer.seconds();
  return result;
}

}  // namespace lancet
