#include "distill/train/abilities.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"

namespace lancet {
namespace {

/// Of the text's paragraphs every fourth: some 1,500 tokens.
constexpr std::size_t kEvery = 4;

using Pairs = std::vector<std::pair<std::string, std::string>>;

/// A test's items as pairs: of each the answer first.
struct TestItems {
  std::string name;
  Pairs pairs;
  std::vector<std::size_t> firsts;  ///< where an item's pairs begin; one more at the end
};

std::vector<std::string> lines_of(const fs::path& path) {
  const std::string text = read_file(path, 64ULL << 20);
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    if (end > at) out.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

TestItems read_test(const fs::path& path) {
  TestItems out{.name = path.stem().string(), .pairs = {}, .firsts = {0}};
  std::size_t number = 0;
  for (const std::string& line : lines_of(path)) {
    const std::string where = fmt::format("{}:{}", path.string(), ++number);
    const Json item = parse_json(line, where);
    const std::string prompt = json_string(item, "prompt", where);
    out.pairs.emplace_back(prompt, json_string(item, "answer", where));
    const auto others = item.find("others");
    if (others == item.end() || !others->is_array() || others->empty())
      fail(ErrorKind::kInput, "abilities", where + ": expected a list of other answers");
    for (const Json& other : *others) {
      if (!other.is_string() || other.get_ref<const std::string&>().empty())
        fail(ErrorKind::kInput, "abilities", where + ": expected other answers that are texts");
      out.pairs.emplace_back(prompt, other.get<std::string>());
    }
    out.firsts.push_back(out.pairs.size());
  }
  return out;
}

std::vector<TestItems> read_tests() {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(share_dir() / "abilities")) {
    if (entry.path().extension() == ".jsonl") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<TestItems> out;
  out.reserve(paths.size());
  for (const fs::path& path : paths) out.push_back(read_test(path));
  return out;
}

Abilities::Test judge(const TestItems& items, const AskProbabilities& ask) {
  const std::vector<TextProbability> said = ask(items.pairs);
  const auto for_each_byte = [&](std::size_t i) {
    return said[i].logprob / static_cast<double>(items.pairs[i].second.size());
  };
  Abilities::Test out{.name = items.name};
  for (std::size_t item = 0; item + 1 < items.firsts.size(); ++item) {
    const std::size_t first = items.firsts[item];
    double best = -INFINITY;
    for (std::size_t i = first + 1; i < items.firsts[item + 1]; ++i)
      best = std::max(best, for_each_byte(i));
    const double margin = for_each_byte(first) - best;
    out.passed += margin > 0 ? 1 : 0;
    out.margin += margin;
    ++out.items;
  }
  if (out.items > 0) out.margin /= static_cast<double>(out.items);
  return out;
}

}  // namespace

Abilities measure_abilities(const AskProbabilities& ask) {
  Abilities out;
  const std::vector<std::string> lines = lines_of(share_dir() / "texts" / "perplexity.txt");
  Pairs paragraphs;
  for (std::size_t i = 0; i < lines.size(); i += kEvery) paragraphs.emplace_back("", lines[i]);
  double nll = 0;
  for (const TextProbability& each : ask(paragraphs)) {
    nll -= each.logprob;
    out.tokens += each.tokens;
  }
  out.perplexity = std::exp(nll / static_cast<double>(std::max<std::int64_t>(out.tokens, 1)));
  for (const TestItems& items : read_tests()) out.tests.push_back(judge(items, ask));
  return out;
}

Json forgetting_json(const Abilities& before, const Abilities& after) {
  Json tests = Json::array();
  for (std::size_t i = 0; i < before.tests.size(); ++i) {
    const Abilities::Test &old = before.tests[i], &now = after.tests.at(i);
    tests.push_back({{"name", old.name},
                     {"items", old.items},
                     {"before", old.passed},
                     {"after", now.passed},
                     {"margin_before", old.margin},
                     {"margin_after", now.margin}});
  }
  return {{"perplexity",
           {{"before", before.perplexity},
            {"after", after.perplexity},
            {"ratio", after.perplexity / before.perplexity},
            {"tokens", before.tokens}}},
          {"tests", std::move(tests)}};
}

}  // namespace lancet
