// What Graft says about itself: plan, residuals, one line a token.
#include <algorithm>
#include <numeric>

#include "merge/graft.h"

namespace lancet {
namespace {

constexpr std::size_t kWorst = 20;

std::uint64_t count(const std::vector<TokenMatch>& matches, TokenOrigin origin) {
  return static_cast<std::uint64_t>(
      std::ranges::count(matches, origin, [](const TokenMatch& m) { return m.origin; }));
}

}  // namespace

Json Graft::plan() const {
  Json tables = Json::array();
  for (const Table& table : tables_)
    tables.push_back({{"table", table.name}, {"tensor", table.model->name}});
  return {{"tokens", donor_tokens_.tokens().size()},
          {"rows", rows_},
          {"shared", count(matches_, TokenOrigin::kShared)},
          {"special", count(matches_, TokenOrigin::kSpecial)},
          {"given", count(matches_, TokenOrigin::kGiven)},
          {"made", count(matches_, TokenOrigin::kMade)},
          {"padding", count(matches_, TokenOrigin::kPadding)},
          {"atoms", atoms_.size()},
          {"tables", tables},
          {"bytes", bytes()}};
}

Json Graft::residuals() const {
  Json out = Json::object();
  for (const Table& table : tables_) {
    std::vector<std::pair<double, std::size_t>> found;
    for (std::size_t id = 0; id < table.sums.residuals.size(); ++id) {
      if (table.sums.residuals[id] >= 0) found.emplace_back(table.sums.residuals[id], id);
    }
    if (found.empty()) {
      out[table.name] = nullptr;
      continue;
    }
    std::ranges::sort(found, std::greater<>());
    double sum = 0;
    for (const auto& [residual, id] : found) sum += residual;
    Json worst = Json::array();
    for (std::size_t i = 0; i < std::min(kWorst, found.size()); ++i) {
      worst.push_back({{"token", donor_tokens_.tokens()[found[i].second].piece},
                       {"id", found[i].second},
                       {"residual", found[i].first}});
    }
    out[table.name] = {{"fitted", found.size()},
                       {"mean", sum / static_cast<double>(found.size())},
                       {"median", found[found.size() / 2].first},
                       {"worst", worst}};
  }
  return out;
}

std::string Graft::report() const {
  std::string out;
  for (std::size_t id = 0; id < matches_.size(); ++id) {
    const bool token = id < donor_tokens_.tokens().size();
    Json line{{"id", id},
              {"token", token ? donor_tokens_.tokens()[id].piece : ""},
              {"origin", token_origin_name(matches_[id].origin)}};
    for (const Table& table : tables_) {
      Json from = Json::array();
      for (std::uint64_t k = table.sums.starts[id]; k < table.sums.starts[id + 1]; ++k) {
        const RowSums::Term& term = table.sums.terms[k];
        const Json name =
            term.row == RowSums::kMean ? Json() : Json(model_tokens_.tokens().at(term.row).piece);
        from.push_back({{"token", name}, {"weight", term.weight}});
      }
      line[table.name]["from"] = std::move(from);
      if (table.sums.residuals[id] >= 0) line[table.name]["residual"] = table.sums.residuals[id];
    }
    out += dump_json(line) + "\n";
  }
  return out;
}

}  // namespace lancet
