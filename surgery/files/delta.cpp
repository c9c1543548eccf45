// What is computed on deltas: norms, one behind another, one edit less.
#include "surgery/files/delta.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

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

/// kUsage for an id that is not there.
void check_ids(const Ledger& ledger, const std::vector<std::string>& ids) {
  std::vector<std::string_view> known;
  for (const EditRecord& edit : ledger.edits) known.push_back(edit.id);
  for (const std::string& id : ids) {
    if (ledger.find_edit(id) != nullptr) continue;
    fail(ErrorKind::kUsage, "undo",
         fmt::format("expected the id of an edit of this model ({}), found '{}'",
                     fmt::join(known, ", "), printable(id)),
         did_you_mean(id, known));
  }
}

std::string unique_id(const Ledger& ledger, const std::string& wish) {
  if (ledger.find_edit(wish) == nullptr) return wish;
  for (int i = 2;; ++i) {
    std::string id = fmt::format("{}#{}", wish, i);
    if (ledger.find_edit(id) == nullptr) return id;
  }
}

}  // namespace

const DeltaTensor* Delta::find(std::string_view name) const noexcept {
  const auto found =
      std::find_if(tensors.begin(), tensors.end(), [&](const auto& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

double delta_norm(const DeltaTensor& tensor, std::int64_t first, std::int64_t last) {
  const std::int64_t rank = tensor.rank;
  if (last < 0) last = rank;
  if (rank == 0 || first >= last) return 0;
  // ||L R^T||_F^2 = sum_ab (L^T L)_ab (R^T R)_ab, both summed over rows in order.
  const auto count = static_cast<std::size_t>(last - first);
  const auto gram = [&](const std::vector<float>& values) {
    std::vector<double> out(count * count);
    for (std::size_t row = 0; row < values.size(); row += static_cast<std::size_t>(rank)) {
      const float* at = &values[row + static_cast<std::size_t>(first)];
      for (std::size_t a = 0; a < count; ++a) {
        const auto factor = static_cast<double>(at[a]);
        if (factor == 0) continue;
        for (std::size_t b = a; b < count; ++b)
          out[a * count + b] += factor * static_cast<double>(at[b]);
      }
    }
    return out;
  };
  const std::vector<double> left = gram(tensor.left), right = gram(tensor.right);
  double sum = 0;
  for (std::size_t a = 0; a < count; ++a) {
    for (std::size_t b = a; b < count; ++b)
      sum += (a == b ? 1 : 2) * left[a * count + b] * right[a * count + b];
  }
  return std::sqrt(std::max(sum, 0.0));
}

bool needs_rewrite(const Ledger& ledger, const std::vector<std::string>& ids) {
  check_ids(ledger, ids);
  const std::set<std::string_view> drop(ids.begin(), ids.end());
  std::vector<std::int64_t> gone(ledger.stages.size()), kept(ledger.stages.size());
  for (const EditRecord& edit : ledger.edits)
    ++(drop.contains(edit.id) ? gone : kept)[static_cast<std::size_t>(edit.stage)];
  bool changed = false;  // something is missing below
  for (std::size_t s = 0; s < ledger.stages.size(); ++s) {
    if (kept[s] > 0 && (gone[s] > 0 || (changed && ledger.stages[s].follows))) return true;
    changed = changed || gone[s] > 0;
  }
  return false;
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
  check_ids(delta.ledger, ids);
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
