#include "surgery/files/delta.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/containers/safetensors.h"

namespace lancet {
namespace {

constexpr std::string_view kLeft = ".left";
constexpr std::string_view kRight = ".right";

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

OutputTensor output_f32(std::string name, std::vector<std::int64_t> shape,
                        const std::vector<float>& values) {
  return {std::move(name), DType::kF32, std::move(shape),
          [&values](const std::function<void(Bytes)>& emit) {
            emit(std::as_bytes(std::span(values)));
          }};
}

/// Columns `keep` of a row-major [rows, rank].
std::vector<float> take_columns(const std::vector<float>& values, std::int64_t rank,
                                const std::vector<std::int64_t>& keep) {
  std::vector<float> out;
  if (rank == 0) return out;
  const auto rows = static_cast<std::int64_t>(values.size()) / rank;
  out.reserve(static_cast<std::size_t>(rows) * keep.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    for (const std::int64_t c : keep) out.push_back(values[static_cast<std::size_t>(r * rank + c)]);
  }
  return out;
}

/// [rows, ra] beside [rows, rb].
std::vector<float> beside_columns(const std::vector<float>& a, std::int64_t ra,
                                  const std::vector<float>& b, std::int64_t rb, std::int64_t rows) {
  std::vector<float> out;
  out.reserve(a.size() + b.size());
  for (std::int64_t r = 0; r < rows; ++r) {
    out.insert(out.end(), a.begin() + r * ra, a.begin() + (r + 1) * ra);
    out.insert(out.end(), b.begin() + r * rb, b.begin() + (r + 1) * rb);
  }
  return out;
}

std::string unique_id(const Ledger& ledger, const std::string& wish) {
  if (ledger.find_edit(wish) == nullptr) return wish;
  for (int i = 2;; ++i) {
    std::string id = fmt::format("{}#{}", wish, i);
    if (ledger.find_edit(id) == nullptr) return id;
  }
}

}  // namespace

fs::path delta_path(const fs::path& model) { return beside(model, kDeltaFile); }
fs::path undo_path(const fs::path& model) { return beside(model, "lancet.undo.safetensors"); }

const DeltaTensor* Delta::find(std::string_view name) const noexcept {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

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
  delta.ledger =
      ledger_from_json(parse_json(metadata_text(header, "ledger", source), source), source);
  for (const LedgerTensor& info : delta.ledger.tensors) {
    DeltaTensor tensor{info.name, -1, {}, {}};
    tensor.left =
        read_factor(file, header, info.name + std::string(kLeft), info.d_out, tensor.rank);
    tensor.right =
        read_factor(file, header, info.name + std::string(kRight), info.d_in, tensor.rank);
    check_columns(delta.ledger, info.name, tensor.rank, source);
    delta.tensors.push_back(std::move(tensor));
  }
  if (header.tensors.size() != 2 * delta.tensors.size()) {
    fail(ErrorKind::kInput, "delta",
         fmt::format("expected {} tensors, found {} ({})", 2 * delta.tensors.size(),
                     header.tensors.size(), source));
  }
  return delta;
}

void save_delta(const fs::path& path, const Delta& delta) {
  std::vector<OutputTensor> tensors;
  for (std::size_t i = 0; i < delta.tensors.size(); ++i) {
    const DeltaTensor& tensor = delta.tensors[i];
    const LedgerTensor& info = delta.ledger.tensors[i];
    tensors.push_back(
        output_f32(tensor.name + std::string(kLeft), {info.d_out, tensor.rank}, tensor.left));
    tensors.push_back(
        output_f32(tensor.name + std::string(kRight), {info.d_in, tensor.rank}, tensor.right));
  }
  save_safetensors(path, std::move(tensors),
                   {{"format", "lancet.delta"},
                    {"version", "1"},
                    {"ledger", dump_json(ledger_to_json(delta.ledger))}});
}

double delta_norm(const DeltaTensor& tensor, std::int64_t first, std::int64_t last) {
  const std::int64_t rank = tensor.rank;
  if (last < 0) last = rank;
  if (rank == 0 || first >= last) return 0;
  // ||L R^T||_F^2 = sum_ab (L^T L)_ab (R^T R)_ab
  const auto gram = [&](const std::vector<float>& values, std::int64_t a, std::int64_t b) {
    double sum = 0;
    for (std::size_t row = 0; row < values.size(); row += static_cast<std::size_t>(rank)) {
      sum += static_cast<double>(values[row + static_cast<std::size_t>(a)]) *
             static_cast<double>(values[row + static_cast<std::size_t>(b)]);
    }
    return sum;
  };
  double sum = 0;
  for (std::int64_t a = first; a < last; ++a) {
    for (std::int64_t b = a; b < last; ++b) {
      sum += (a == b ? 1 : 2) * gram(tensor.left, a, b) * gram(tensor.right, a, b);
    }
  }
  return std::sqrt(std::max(sum, 0.0));
}

Delta append_delta(const Delta& first, const Delta& next) {
  std::map<std::string, std::pair<LedgerTensor, DeltaTensor>> merged;
  for (std::size_t i = 0; i < first.tensors.size(); ++i) {
    merged[first.tensors[i].name] = {first.ledger.tensors[i], first.tensors[i]};
  }
  std::map<std::string, std::int64_t> shift;
  for (std::size_t i = 0; i < next.tensors.size(); ++i) {
    const DeltaTensor& add = next.tensors[i];
    const LedgerTensor& info = next.ledger.tensors[i];
    const auto [at, fresh] = merged.try_emplace(add.name, info, add);
    if (fresh) continue;
    auto& [had, have] = at->second;
    if (had.d_out != info.d_out || had.d_in != info.d_in || had.layout != info.layout) {
      fail(ErrorKind::kMismatch, "delta",
           fmt::format("tensor '{}': expected {} x {} {}, found {} x {} {}", add.name, had.d_out,
                       had.d_in, layout_name(had.layout), info.d_out, info.d_in,
                       layout_name(info.layout)));
    }
    shift[add.name] = have.rank;
    have.left = beside_columns(have.left, have.rank, add.left, add.rank, info.d_out);
    have.right = beside_columns(have.right, have.rank, add.right, add.rank, info.d_in);
    have.rank += add.rank;
  }
  Delta out;
  out.ledger = first.ledger;
  out.ledger.tensors.clear();
  for (auto& [name, pair] : merged) {
    out.ledger.tensors.push_back(std::move(pair.first));
    out.tensors.push_back(std::move(pair.second));
  }
  const auto stages = static_cast<std::int64_t>(first.ledger.stages.size());
  out.ledger.stages.insert(out.ledger.stages.end(), next.ledger.stages.begin(),
                           next.ledger.stages.end());
  if (out.ledger.tokenizer_sha256.empty())
    out.ledger.tokenizer_sha256 = next.ledger.tokenizer_sha256;
  for (EditRecord edit : next.ledger.edits) {
    edit.id = unique_id(out.ledger, edit.id);
    edit.stage += stages;
    for (auto& [name, range] : edit.columns) {
      range.first += shift[name];
      range.second += shift[name];
    }
    out.ledger.edits.push_back(std::move(edit));
  }
  return out;
}

Delta without_edits(const Delta& delta, const std::vector<std::string>& ids) {
  std::vector<std::string_view> known;
  for (const EditRecord& edit : delta.ledger.edits) known.push_back(edit.id);
  for (const std::string& id : ids) {
    if (delta.ledger.find_edit(id) != nullptr) continue;
    fail(ErrorKind::kUsage, "undo",
         fmt::format("expected the id of an edit of this model ({}), found '{}'",
                     fmt::join(known, ", "), printable(id)),
         did_you_mean(id, known));
  }
  const std::set<std::string> drop(ids.begin(), ids.end());
  Delta out;
  out.ledger = delta.ledger;
  std::erase_if(out.ledger.edits, [&](const EditRecord& edit) { return drop.contains(edit.id); });
  out.ledger.tensors.clear();
  for (std::size_t i = 0; i < delta.tensors.size(); ++i) {
    const DeltaTensor& tensor = delta.tensors[i];
    std::vector<std::int64_t> keep;
    for (EditRecord& edit : out.ledger.edits) {
      const auto found = edit.columns.find(tensor.name);
      if (found == edit.columns.end()) continue;
      const auto [begin, end] = found->second;
      found->second.first = static_cast<std::int64_t>(keep.size());
      for (std::int64_t c = begin; c < end; ++c) keep.push_back(c);
      found->second.second = static_cast<std::int64_t>(keep.size());
    }
    if (keep.empty()) continue;
    out.ledger.tensors.push_back(delta.ledger.tensors[i]);
    out.tensors.push_back({tensor.name, static_cast<std::int64_t>(keep.size()),
                           take_columns(tensor.left, tensor.rank, keep),
                           take_columns(tensor.right, tensor.rank, keep)});
  }
  return out;
}

}  // namespace lancet
