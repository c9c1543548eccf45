// Delta files: reading and writing.
#include "surgery/files/delta.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/containers/safetensors.h"

namespace lancet {
namespace {

constexpr std::string_view kLeft = ".left";
constexpr std::string_view kRight = ".right";
constexpr std::string_view kKeys = ".keys";
constexpr std::string_view kValues = "values";

fs::path beside(const fs::path& model, std::string_view name) {
  return fs::is_directory(model) ? model / name
                                 : fs::path(model.string() + "." + std::string(name));
}

/// The delta file itself, or the one that stands beside a model.
fs::path resolve(const fs::path& path) {
  if (fs::is_directory(path)) return path / kDeltaFile;
  const fs::path sibling = delta_path(path);
  return fs::exists(sibling) ? sibling : path;
}

const std::string& metadata_text(const SafetensorsHeader& header, const std::string& key,
                                 const std::string& source) {
  const auto found = header.metadata.find(key);
  if (found == header.metadata.end()) {
    fail(ErrorKind::kInput, "delta",
         fmt::format("expected metadata '{}', found none ({})", key, source),
         "is this a file that `lancet edit` wrote?");
  }
  return found->second;
}

/// F32 [rows, rank]; a negative rows or rank is whatever the file has.
std::vector<float> read_factor(const MappedFile& file, const SafetensorsHeader& header,
                               const std::string& name, std::int64_t rows, std::int64_t& rank) {
  const auto found = std::find_if(header.tensors.begin(), header.tensors.end(),
                                  [&](const TensorInfo& t) { return t.name == name; });
  const std::string source = file.path().string();
  if (found == header.tensors.end()) {
    fail(ErrorKind::kInput, "delta",
         fmt::format("expected tensor '{}', found none ({})", name, source));
  }
  if (found->dtype != DType::kF32 || found->shape.size() != 2 || found->shape[0] != rows ||
      (rank >= 0 && found->shape[1] != rank)) {
    fail(ErrorKind::kInput, "delta",
         fmt::format("tensor '{}': expected F32 [{}, {}], found {} [{}] ({})", name, rows,
                     rank >= 0 ? std::to_string(rank) : "rank", dtype_info(found->dtype).name,
                     fmt::join(found->shape, ", "), source));
  }
  rank = found->shape[1];
  std::vector<float> values(static_cast<std::size_t>(found->elements()));
  if (!values.empty())
    std::memcpy(values.data(), file.bytes().data() + found->offset, found->bytes);
  const auto bad =
      std::find_if(values.begin(), values.end(), [](float v) { return !std::isfinite(v); });
  if (bad != values.end()) {
    fail(ErrorKind::kInput, "delta",
         fmt::format("tensor '{}': element {} is not finite ({})", name, bad - values.begin(),
                     source));
  }
  return values;
}

/// Columns of the edits of one tensor must tile [0, rank) in order.
void check_columns(const Ledger& ledger, const std::string& name, std::int64_t rank,
                   const std::string& source) {
  std::int64_t next = 0;
  for (const EditRecord& edit : ledger.edits) {
    const auto found = edit.columns.find(name);
    if (found == edit.columns.end()) continue;
    if (found->second.first != next) {
      fail(ErrorKind::kInput, "delta",
           fmt::format("edit '{}', tensor '{}': expected columns from {}, found {} ({})", edit.id,
                       name, next, found->second.first, source));
    }
    next = found->second.second;
  }
  if (next != rank) {
    fail(ErrorKind::kInput, "delta",
         fmt::format("tensor '{}': the edits name {} columns, the factors have {} ({})", name, next,
                     rank, source));
  }
}

/// Rows of a [rows, width] in turn.
class RowReader {
 public:
  RowReader(std::vector<float> values, std::int64_t rows)
      : values_(std::move(values)),
        width_(rows == 0 ? 0 : values_.size() / static_cast<std::size_t>(rows)) {}
  std::vector<float> next() {
    const auto from = values_.begin() + static_cast<std::ptrdiff_t>(at_++ * width_);
    return {from, from + static_cast<std::ptrdiff_t>(width_)};
  }

 private:
  std::vector<float> values_;
  std::size_t width_, at_ = 0;
};

/// Indices of the edits that the ledger's JSON marks, `name` empty: with a value, else with a key
/// of this tensor.
std::vector<std::size_t> marked_edits(const Json& ledger, const std::string& name) {
  std::vector<std::size_t> out;
  const Json& edits = ledger["edits"];
  for (std::size_t i = 0; i < edits.size(); ++i) {
    const bool has = name.empty() ? json_bool(edits[i], "value", "ledger", false)
                                  : edits[i].contains("keys") && edits[i]["keys"].is_array() &&
                                        std::ranges::count(edits[i]["keys"], Json(name)) > 0;
    if (has) out.push_back(i);
  }
  return out;
}

/// Fills keys and values of the edits; returns how many tensors that took.
std::size_t read_traces(const MappedFile& file, const SafetensorsHeader& header, const Json& ledger,
                        Delta& delta) {
  std::size_t tensors = 0;
  const auto read = [&](const std::string& tensor, const std::vector<std::size_t>& edits,
                        std::int64_t width) {
    ++tensors;
    const std::int64_t rows = std::ssize(edits);
    return RowReader(read_factor(file, header, tensor, rows, width), rows);
  };
  for (const LedgerTensor& info : delta.ledger.tensors) {
    const auto edits = marked_edits(ledger, info.name);
    if (edits.empty()) continue;
    RowReader rows = read(info.name + std::string(kKeys), edits, info.d_in);
    for (const std::size_t i : edits) delta.ledger.edits[i].keys[info.name] = rows.next();
  }
  const auto edits = marked_edits(ledger, "");
  if (edits.empty()) return tensors;
  RowReader rows = read(std::string(kValues), edits, -1);
  for (const std::size_t i : edits) delta.ledger.edits[i].value = rows.next();
  return tensors;
}

OutputTensor output_f32(std::string name, std::vector<std::int64_t> shape,
                        const std::vector<float>& values) {
  return {std::move(name), DType::kF32, std::move(shape),
          [&values](const std::function<void(Bytes)>& emit) {
            emit(std::as_bytes(std::span(values)));
          }};
}

}  // namespace

fs::path delta_path(const fs::path& model) { return beside(model, kDeltaFile); }
fs::path undo_path(const fs::path& model) { return beside(model, "lancet.undo.safetensors"); }

Delta load_delta(const fs::path& path) {
  const MappedFile file(resolve(path));
  const std::string source = file.path().string();
  const SafetensorsHeader header = parse_safetensors(file.bytes(), file.size(), source);
  const std::string& format = metadata_text(header, "format", source);
  if (format != "lancet.delta") {
    fail(ErrorKind::kInput, "delta",
         fmt::format("expected format 'lancet.delta', found '{}' ({})", printable(format), source));
  }
  Delta delta;
  const Json ledger = parse_json(metadata_text(header, "ledger", source), source);
  delta.ledger = ledger_from_json(ledger, source);
  for (const LedgerTensor& info : delta.ledger.tensors) {
    DeltaTensor tensor{info.name, -1, {}, {}};
    tensor.left =
        read_factor(file, header, info.name + std::string(kLeft), info.d_out, tensor.rank);
    tensor.right =
        read_factor(file, header, info.name + std::string(kRight), info.d_in, tensor.rank);
    check_columns(delta.ledger, info.name, tensor.rank, source);
    delta.tensors.push_back(std::move(tensor));
  }
  const std::size_t expected = 2 * delta.tensors.size() + read_traces(file, header, ledger, delta);
  if (header.tensors.size() != expected) {
    fail(
        ErrorKind::kInput, "delta",
        fmt::format("expected {} tensors, found {} ({})", expected, header.tensors.size(), source));
  }
  return delta;
}

void save_delta(const fs::path& path, const Delta& delta) {
  std::vector<OutputTensor> tensors;
  std::vector<float> values;
  std::int64_t with_value = 0;
  for (const EditRecord& edit : delta.ledger.edits) {
    values.insert(values.end(), edit.value.begin(), edit.value.end());
    if (!edit.value.empty()) ++with_value;
  }
  std::map<std::string, std::vector<float>> keys;
  for (const LedgerTensor& info : delta.ledger.tensors) {
    for (const EditRecord& edit : delta.ledger.edits) {
      const auto found = edit.keys.find(info.name);
      if (found != edit.keys.end())
        keys[info.name].insert(keys[info.name].end(), found->second.begin(), found->second.end());
    }
  }
  if (with_value > 0) {
    tensors.push_back(
        output_f32(std::string(kValues), {with_value, std::ssize(values) / with_value}, values));
  }
  for (std::size_t i = 0; i < delta.tensors.size(); ++i) {
    const DeltaTensor& tensor = delta.tensors[i];
    const LedgerTensor& info = delta.ledger.tensors[i];
    tensors.push_back(
        output_f32(tensor.name + std::string(kLeft), {info.d_out, tensor.rank}, tensor.left));
    tensors.push_back(
        output_f32(tensor.name + std::string(kRight), {info.d_in, tensor.rank}, tensor.right));
    const auto found = keys.find(tensor.name);
    if (found == keys.end()) continue;
    tensors.push_back(output_f32(tensor.name + std::string(kKeys),
                                 {std::ssize(found->second) / info.d_in, info.d_in},
                                 found->second));
  }
  save_safetensors(path, std::move(tensors),
                   {{"format", "lancet.delta"},
                    {"version", "1"},
                    {"ledger", dump_json(ledger_to_json(delta.ledger))}});
}

}  // namespace lancet
