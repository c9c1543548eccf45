// Rows that hold items of a test set. Two rules:
//   n-gram: a run of `ngram` words (13 as GPT-3 and Llama 2; open-r1 and Tulu 3 use 8) of an item
//           occurs in the row; an item of fewer words, but at least `shortest`, counts as one run.
//   rouge:  ROUGE-L recall LCS(item, row) / |item| (Lin 2004) over words, for the items that share
//           a run of four words with the row.
// Sets are JSON lines (rows of any known kind, or the members question, problem, instruction,
// input, prompt, text) or text files with an item a line.
#include <algorithm>
#include <unordered_map>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"
#include "distill/filter.h"
#include "distill/rows/test_set.h"
#include "distill/text/common_subsequence.h"
#include "distill/text/words.h"

namespace lancet {
namespace {

constexpr std::size_t kSeed = 4;  ///< words that bring an item before ROUGE

constexpr FilterParameter kParameters[] = {
    part_parameter(),
    {.name = "set",
     .kind = FilterParameter::Kind::kList,
     .help = "file of a test set; may come again; at least one"},
    {.name = "ngram",
     .kind = FilterParameter::Kind::kInteger,
     .fallback = 13,
     .minimum = 3,
     .maximum = 64,
     .help = "words of a run that may not be shared"},
    {.name = "shortest",
     .kind = FilterParameter::Kind::kInteger,
     .fallback = 6,
     .minimum = 1,
     .maximum = 64,
     .help = "items of fewer words than this are passed over"},
    {.name = "rouge",
     .fallback = 0.7,
     .minimum = 0,
     .maximum = 1,
     .help = "ROUGE-L recall of an item in the row at which it goes; 0 = n-grams only"}};

struct Item {
  std::string place;  ///< "FILE:LINE"
  std::vector<std::uint64_t> words;
};

class Decontaminate final : public RowFilter {
 public:
  Decontaminate(const FilterValues& values, bool silent)
      : part_(values.part()),
        ngram_(values.integer("ngram")),
        shortest_(values.integer("shortest")),
        rouge_(values.number("rouge")) {
    if (values.list("set").empty())
      fail(ErrorKind::kUsage, "curate",
           "filter decontaminate: expected at least one set, found none",
           "--decontaminate FILE, or --filter decontaminate:set=FILE");
    for (const std::string& path : values.list("set")) add_set(path);
    for (const Set& set : sets_) {
      if (!silent && set.first == set.end) warn_of(set);
    }
  }

  std::optional<Drop> inspect(const Row& row, Sketch& sketch) const override {
    const std::string text = normalise_text(row.text(part_));
    const auto words = hash_words(words_of(text));
    for (const std::size_t length : lengths_) {
      for (const std::uint64_t run : hash_ngrams(words, length)) {
        const auto found = runs_.find(run);
        if (found == runs_.end()) continue;
        sketch.push_back(found->second);
        return Drop{"n-gram", fmt::format("{} words of {}", length, items_[found->second].place)};
      }
    }
    return rouge_ > 0 ? by_rouge(words, sketch) : std::nullopt;
  }

  std::optional<Drop> decide(const Row&, const Sketch& sketch) override {
    for (const std::uint32_t item : sketch) ++hits_[item];  // of rows that came so far
    return std::nullopt;
  }

  Json details() const override {
    Json sets = Json::array();
    for (const Set& set : sets_) {
      std::size_t contaminated = 0, rows = 0;
      for (const auto& [item, count] : hits_) {
        if (item < set.first || item >= set.end) continue;
        ++contaminated;
        rows += count;
      }
      sets.push_back({{"set", set.name},
                      {"items", set.end - set.first},
                      {"passed_over", set.short_items},
                      {"items_found", contaminated},
                      {"rows", rows}});
    }
    return {{"sets", sets}};
  }

 private:
  struct Set {
    std::string name;
    std::uint32_t first = 0, end = 0;
    std::size_t short_items = 0;
  };
  RowPart part_;
  std::size_t ngram_, shortest_;
  double rouge_;
  std::vector<Set> sets_;
  std::vector<Item> items_;
  std::vector<std::size_t> lengths_;  ///< of the runs, longest first
  std::unordered_map<std::uint64_t, std::uint32_t> runs_;
  std::unordered_multimap<std::uint64_t, std::uint32_t> seeds_;
  std::unordered_map<std::uint32_t, std::size_t> hits_;

  void warn_of(const Set& set) const {
    log::warn(fmt::format("decontaminate: nothing is checked against '{}': {}", printable(set.name),
                          set.short_items == 0
                              ? "it has no items"
                              : fmt::format("all of its {} items have fewer than {} words "
                                            "(--filter decontaminate:shortest=N)",
                                            set.short_items, shortest_)));
  }

  void add_set(const std::string& path) {
    Set set{.name = path,
            .first = static_cast<std::uint32_t>(items_.size()),
            .end = 0,
            .short_items = 0};
    for (const TestItem& read : read_test_set(path)) {
      const std::string text = normalise_text(read.text);
      auto words = hash_words(words_of(text));
      if (words.size() < shortest_) {
        ++set.short_items;
        continue;
      }
      add_item({read.place, std::move(words)});
    }
    set.end = static_cast<std::uint32_t>(items_.size());
    sets_.push_back(std::move(set));
  }

  void add_item(Item item) {
    const auto index = static_cast<std::uint32_t>(items_.size());
    const std::size_t length = std::min(ngram_, item.words.size());
    if (std::find(lengths_.begin(), lengths_.end(), length) == lengths_.end()) {
      lengths_.push_back(length);
      std::sort(lengths_.rbegin(), lengths_.rend());
    }
    for (const std::uint64_t run : hash_ngrams(item.words, length)) runs_.try_emplace(run, index);
    if (rouge_ > 0) {
      auto seeds = hash_ngrams(item.words, std::min(kSeed, item.words.size()));
      std::sort(seeds.begin(), seeds.end());
      seeds.erase(std::unique(seeds.begin(), seeds.end()), seeds.end());
      for (const std::uint64_t seed : seeds) seeds_.emplace(seed, index);
    }
    items_.push_back(std::move(item));
  }

  [[nodiscard]] std::optional<Drop> by_rouge(const std::vector<std::uint64_t>& words,
                                             Sketch& sketch) const {
    std::vector<std::uint32_t> candidates;
    for (const std::uint64_t seed : hash_ngrams(words, kSeed)) {
      const auto [begin, end] = seeds_.equal_range(seed);
      for (auto at = begin; at != end; ++at) candidates.push_back(at->second);
    }
    std::sort(candidates.begin(), candidates.end());
    candidates.erase(std::unique(candidates.begin(), candidates.end()), candidates.end());
    for (const std::uint32_t index : candidates) {
      const auto& item = items_[index].words;
      const double recall =
          static_cast<double>(common_subsequence(item, words)) / static_cast<double>(item.size());
      if (recall < rouge_) continue;
      sketch.push_back(index);
      return Drop{"rouge", fmt::format("recall {:.2f} of {}", recall, items_[index].place)};
    }
    return std::nullopt;
  }
};

}  // namespace

extern const Filter filter_decontaminate;
const Filter filter_decontaminate{
    .name = "decontaminate",
    .title = "No items of test sets: shared runs of words, or ROUGE-L recall",
    .source = "Brown et al. 2020, arXiv:2005.14165",
    .parameters = kParameters,
    .make = [](const FilterValues& values, const FilterContext& context) {
      return std::unique_ptr<RowFilter>(std::make_unique<Decontaminate>(values, context.silent));
    }};

}  // namespace lancet
