#include "surgery/mass_keys.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include <c10/core/GradMode.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "model/runtime.h"
#include "surgery/leak_prompts.h"

namespace lancet {
namespace {

constexpr std::int64_t kKeyRows = 64;  ///< of a pass for keys
constexpr std::int64_t kProtected =
    24;  ///< other subjects of a prompt, where their list has so many

/// `rows` cut behind their lookup: what follows has no influence on it.
std::vector<PromptRow> cut_rows(const std::vector<PromptRow>& rows) {
  std::vector<PromptRow> out = rows;
  for (PromptRow& row : out) row.ids.resize(static_cast<std::size_t>(row.lookup) + 1);
  return out;
}

std::vector<RowRange> even_ranges(std::int64_t count) {
  std::vector<RowRange> out;
  for (std::int64_t first = 0; first < count; first += kKeyRows)
    out.emplace_back(first, std::min(count, first + kKeyRows));
  return out;
}

}  // namespace

at::Tensor keys_of(const Decoder& model, const std::vector<PromptRow>& rows, std::int64_t layer) {
  return read_rows(model, rows, layer, false, even_ranges(std::ssize(rows)))
      .keys.to(at::kCPU, at::kDouble)
      .t();
}

std::vector<PromptRow> other_rows(const Tokenizer& tokenizer, std::span<const Fact> turn,
                                  std::span<const Fact> all) {
  std::set<std::string> edited;
  for (const Fact& fact : all) edited.insert(fact.subject);
  std::set<std::pair<std::string, std::string>> seen;
  std::vector<PromptRow> out;
  for (const Fact& fact : turn) {
    for (const std::string& subject : protected_subjects(fact, kProtected)) {
      if (edited.contains(subject) || !seen.emplace(fact.prompt, subject).second) continue;
      try {
        out.push_back(locate_subject(tokenizer, "{}", fact.prompt, subject));
      } catch (const Error&) {
        continue;  // shares its last token with what follows: has no key of its own
      }
    }
  }
  return cut_rows(out);
}

FactKeys fact_keys(const Decoder& model, const std::vector<FactRows>& facts, std::int64_t layer) {
  std::vector<PromptRow> rows;
  for (const FactRows& fact : facts)
    rows.insert(rows.end(), fact.rewriting.begin(), fact.rewriting.end());
  const at::Tensor all = keys_of(model, cut_rows(rows), layer).t();
  std::vector<at::Tensor> means, halves;
  std::int64_t row = 0;
  for (const FactRows& fact : facts) {
    const auto count = static_cast<std::int64_t>(fact.rewriting.size());
    const at::Tensor bare = all[row];
    const at::Tensor others = count == 1 ? bare : all.narrow(0, row + 1, count - 1).mean(0);
    means.push_back(count == 1 ? bare : (bare + others) / 2);
    halves.push_back((bare - others) / 2);
    row += count;
  }
  return {at::stack(means, 1), at::stack(halves, 1)};
}

at::Tensor streams(const Decoder& model, const std::vector<FactRows>& facts, std::int64_t layer) {
  std::vector<PromptRow> rows;
  rows.reserve(facts.size());
  for (const FactRows& fact : facts) rows.push_back(fact.rewriting.front());
  rows = cut_rows(rows);
  const auto ranges = even_ranges(static_cast<std::int64_t>(rows.size()));
  std::vector<at::Tensor> parts(ranges.size());
  for_each_chunk(static_cast<std::int64_t>(ranges.size()), [&](std::int64_t c) {
    check_interrupted();
    c10::AutoGradMode no_gradient(false);
    const auto [first, last] = ranges[static_cast<std::size_t>(c)];
    Pass pass;
    const at::Tensor ids = pad_rows(rows, first, last, pass.lengths).to(model.options().device());
    const at::Tensor hidden = model.run(model.embed(ids), 0, layer + 1, pass);
    std::vector<at::Tensor> ends;
    for (std::int64_t r = first; r < last; ++r)
      ends.push_back(hidden[r - first][rows[static_cast<std::size_t>(r)].lookup]);
    parts[static_cast<std::size_t>(c)] = at::stack(ends).to(at::kCPU, at::kDouble);
  });
  return at::cat(parts).t().contiguous();
}

void PastKeys::add(const at::Tensor& keys) {
  const OneThread inside;
  count_ += keys.size(1);
  if (moment_.defined()) {
    moment_ = moment_ + at::matmul(keys, keys.t());  // copies share the old one
    return;
  }
  panel_ = panel_.defined() ? at::cat({panel_, keys}, 1) : keys;
  if (panel_.size(1) < panel_.size(0)) return;
  moment_ = at::matmul(panel_, panel_.t());
  panel_.reset();
}

}  // namespace lancet
