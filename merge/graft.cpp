#include "merge/graft.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

#include "core/error.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "core/text.h"
#include "merge/reader.h"
#include "merge/tokens.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "graft-tokens";
constexpr std::array<std::string_view, 5> kEmbeddings{"embed_tokens.weight", "wte.weight",
                                                      "word_embeddings.weight", "embed_in.weight",
                                                      "tok_embeddings.weight"};
constexpr std::array<std::string_view, 3> kHeads{"lm_head.weight", "embed_out.weight",
                                                 "output.weight"};

/// The tensor whose name is, or ends with a dot and, one of `names`; null where there is none.
template <typename Names>
const TensorInfo* find_table(const ModelSource& model, const Names& names) {
  for (const TensorInfo& tensor : model.tensors()) {
    for (const std::string_view name : names) {
      const bool named = tensor.name == name || tensor.name.ends_with("." + std::string(name));
      if (named && tensor.shape.size() == 2) return &tensor;
    }
  }
  return nullptr;
}

const TensorInfo& embedding_of(const ModelSource& model, const std::string& label) {
  if (const TensorInfo* found = find_table(model, kEmbeddings)) return *found;
  fail(ErrorKind::kMismatch, kOperation,
       fmt::format("expected a token embedding in '{}', found no tensor that ends in {}",
                   printable(label, 200), kEmbeddings[0]));
}

/// Tables by token that would keep the old vocabulary.
void check_no_other(const ModelSource& model, std::int64_t rows,
                    const std::vector<const TensorInfo*>& known) {
  for (const TensorInfo& tensor : model.tensors()) {
    const bool table = tensor.name.find("embed") != tensor.name.npos && !tensor.shape.empty() &&
                       tensor.shape[0] == rows;
    if (!table || std::ranges::find(known, &tensor) != known.end()) continue;
    fail(ErrorKind::kMismatch, kOperation,
         fmt::format("tensor '{}': expected one embedding and one head by token, found another "
                     "table of {} rows",
                     printable(tensor.name), rows),
         "models with several token tables cannot be given another vocabulary yet");
  }
}

bool holds_for(GraftTables tables, bool head) {
  return tables == GraftTables::kBoth ||
         tables == (head ? GraftTables::kHead : GraftTables::kEmbedding);
}

}  // namespace

void RowSums::reserve(std::size_t rows, std::size_t count) {
  starts.reserve(rows + 1);
  residuals.reserve(rows);
  terms.reserve(count);
}

void RowSums::add(std::span<const Term> row, double residual) {
  terms.insert(terms.end(), row.begin(), row.end());
  starts.push_back(terms.size());
  residuals.push_back(residual);
}

Graft::Graft(const fs::path& model, const fs::path& donor, GraftOptions options)
    : options_(std::move(options)),
      model_(ModelSource::open(model)),
      donor_(ModelSource::open(donor)),
      model_tokens_(model_, model.string()),
      donor_tokens_(donor_, donor.string()),
      matches_(match_tokens(model_tokens_, donor_tokens_, options_.given, options_.match_bytes)) {
  options_.pursuit.memory = options_.memory / 2;
  find_tables();
  choose_rows();
  side_files_ = make_side_files();
}

void Graft::find_tables() {
  if (!model_.config().contains("vocab_size")) {
    fail(ErrorKind::kMismatch, kOperation,
         fmt::format("'{}': expected vocab_size at the top of config.json, found none",
                     printable(model_tokens_.label(), 200)),
         "models of several parts cannot be given another vocabulary yet");
  }
  const TensorInfo& embedding = embedding_of(model_, model_tokens_.label());
  const TensorInfo& theirs = embedding_of(donor_, donor_tokens_.label());
  tables_.push_back({.name = "embedding", .model = &embedding, .donor = &theirs});
  const TensorInfo* head = find_table(model_, kHeads);
  if (head != nullptr && head->shape[0] == embedding.shape[0]) {
    const TensorInfo* their_head = find_table(donor_, kHeads);
    const std::string bias = head->name.substr(0, head->name.size() - 6) + "bias";
    tables_.push_back({.name = "head",
                       .model = head,
                       .donor = their_head == nullptr ? &theirs : their_head,
                       .bias = model_.find(bias)});
  }
  for (Table& table : tables_)
    table.prefix = holds_for(options_.prefix, table.model == head && head != nullptr);
  std::vector<const TensorInfo*> known{&embedding};
  if (head != nullptr) known.push_back(head);
  check_no_other(model_, embedding.shape[0], known);
}

void Graft::choose_rows() {
  const auto tokens = static_cast<std::int64_t>(donor_tokens_.tokens().size());
  rows_ = std::max(tokens, tables_[0].donor->shape[0]);
  if (options_.pad_to > 0)
    rows_ = (tokens + options_.pad_to - 1) / options_.pad_to * options_.pad_to;
  std::int64_t theirs = INT64_MAX;
  for (const Table& table : tables_) theirs = std::min(theirs, table.donor->shape[0]);
  for (std::size_t id = 0; id < matches_.size(); ++id) {
    TokenMatch& match = matches_[id];
    if (match.row >= tables_[0].model->shape[0]) match = {TokenOrigin::kMade, -1};
    if (static_cast<std::int64_t>(id) >= theirs) continue;  // a token without a row
    if (match.origin == TokenOrigin::kShared) atoms_.push_back(static_cast<std::uint32_t>(id));
    if (match.origin == TokenOrigin::kMade) targets_.push_back(static_cast<std::uint32_t>(id));
  }
  matches_.resize(static_cast<std::size_t>(rows_));
  if (options_.method != GraftMethod::kOmp) targets_.clear();
  if (!targets_.empty() && atoms_.empty()) {
    fail(ErrorKind::kMismatch, kOperation,
         fmt::format("expected tokens that '{}' and '{}' share, found none",
                     printable(model_tokens_.label(), 200), printable(donor_tokens_.label(), 200)),
         "--method subword needs no shared tokens");
  }
}

std::vector<RowSums::Term> Graft::made_row(std::size_t id) const {
  const TokenTable::Token& token = donor_tokens_.tokens()[id];
  std::vector<RowSums::Term> out;
  if (options_.method != GraftMethod::kMean) {
    for (const TokenId piece : model_tokens_.split(token.special ? token.piece : token.bytes)) {
      if (piece < tables_[0].model->shape[0]) out.push_back({static_cast<std::uint32_t>(piece), 1});
    }
  }
  if (out.empty()) return {{RowSums::kMean, 1}};
  switch (options_.subword) {
    case SubwordRule::kFirst:
      return {out.front()};
    case SubwordRule::kLast:
      return {out.back()};
    case SubwordRule::kMean:
      for (RowSums::Term& term : out) term.weight = 1 / static_cast<double>(out.size());
      break;
    case SubwordRule::kSum:
      break;
  }
  return out;
}

void Graft::solve() {
  Progress bar("fitting tokens", targets_.size() * tables_.size(), Progress::Unit::kItems);
  for (Table& table : tables_) solve_table(table, [&](std::size_t done) { bar.advance(done); });
}

std::optional<std::uint32_t> Graft::prefix_of(const Table& table, std::size_t id) const {
  if (!table.prefix) return std::nullopt;
  const auto found = model_tokens_.longest_prefix(donor_tokens_.tokens()[id].bytes, true);
  if (!found || *found >= table.model->shape[0]) return std::nullopt;
  return static_cast<std::uint32_t>(*found);
}

std::vector<RowSums::Term> Graft::unfitted_row(const Table& table, std::size_t id) const {
  const TokenMatch& match = matches_[id];
  if (match.origin == TokenOrigin::kPadding) return {{RowSums::kMean, 1}};
  if (match.origin != TokenOrigin::kMade) return {{static_cast<std::uint32_t>(match.row), 1}};
  if (const auto prefix = prefix_of(table, id)) return {{*prefix, 1}};
  return made_row(id);
}

std::vector<std::uint32_t> Graft::targets_of(const Table& table) const {
  std::vector<std::uint32_t> targets;
  for (const std::uint32_t id : targets_) {
    if (!prefix_of(table, id)) targets.push_back(id);
  }
  return targets;
}

void Graft::solve_table(Table& table, const std::function<void(std::size_t)>& progress) const {
  const std::vector<std::uint32_t> targets = targets_of(table);
  std::vector<SparseRow> fitted;
  if (!targets.empty()) {
    const auto reader = stored_reader(donor_, *table.donor, donor_tokens_.label());
    const Atoms atoms(*reader, atoms_, options_.memory / 2);
    fitted = pursue(atoms, *reader, targets, options_.pursuit, progress);
  }
  std::size_t next = 0, terms = matches_.size() - targets.size();
  for (const SparseRow& fit : fitted) terms += fit.atoms.size();
  table.sums.reserve(matches_.size(), terms);
  for (std::size_t id = 0; id < matches_.size(); ++id) {
    std::vector<RowSums::Term> row;
    double residual = -1;
    if (next < targets.size() && targets[next] == id) {
      const SparseRow& fit = fitted[next++];
      for (std::size_t i = 0; i < fit.atoms.size(); ++i) {
        const TokenId own = matches_[atoms_[fit.atoms[i]]].row;
        row.push_back({static_cast<std::uint32_t>(own), fit.weights[i]});
      }
      if (!row.empty()) residual = fit.residual;
    }
    if (row.empty()) row = unfitted_row(table, id);  // also where the donor's row is zero
    table.sums.add(row, residual);
  }
}

std::map<std::string, std::string> Graft::make_side_files() {
  auto files = model_.side_files();
  const auto theirs = donor_.side_files();
  std::erase_if(files, [](const auto& file) { return is_tokenizer_file(file.first); });
  for (const auto& file : theirs) {
    if (is_tokenizer_file(file.first)) files.insert(file);
  }
  graft_config(files, donor_, model_tokens_, donor_tokens_, rows_, warnings_);
  return files;
}

}  // namespace lancet
