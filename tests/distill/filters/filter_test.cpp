// Every filter on rows that it must keep and rows that it must drop, by rule.

#include "distill/filter.h"

#include <random>
#include <set>

#include "distill/text/common_subsequence.h"
#include "distill/text/language.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

std::unique_ptr<RowFilter> make(const std::string& name, const Settings& settings,
                                const FilterContext& context = {}) {
  const Filter& filter = find_filter(name);
  return filter.make(FilterValues(filter.name, filter.parameters, settings), context);
}

/// The rule that drops `row`, or "".
std::string rule(RowFilter& filter, const Json& row) {
  const std::string text = row.dump();
  const Row parsed = parse_row(text, "row");
  Sketch sketch;
  auto drop = filter.inspect(parsed, sketch);
  const auto later = filter.decide(parsed, sketch);
  if (!drop) drop = later;
  return drop ? drop->rule : "";
}

std::string rule(const std::string& name, const Settings& settings, const Json& row) {
  return rule(*make(name, settings), row);
}

Json answer(const std::string& text) { return {{"prompt", "Question?"}, {"completion", text}}; }

ErrorKind kind_of(const std::string& name, const Settings& settings) {
  const auto error = test::error_of([&] { (void)make(name, settings); });
  return error ? error->kind() : ErrorKind::kInternal;
}

/// Rows held in memory.
class Rows final : public RowStore {
 public:
  explicit Rows(const std::vector<std::string>& texts) {
    for (const auto& text : texts) lines_.push_back(Json{{"text", text}}.dump());
    for (const auto& line : lines_) rows_.push_back(parse_row(line, "row"));
  }
  std::size_t size() const override { return rows_.size(); }
  void for_each_group(
      std::size_t group,
      const std::function<void(std::size_t, const std::vector<Row>&)>& each) const override {
    for (std::size_t at = 0; at < rows_.size(); at += group) {
      const auto end = std::min(at + group, rows_.size());
      each(at, {rows_.begin() + static_cast<std::ptrdiff_t>(at),
                rows_.begin() + static_cast<std::ptrdiff_t>(end)});
    }
  }

 private:
  std::vector<std::string> lines_;
  std::vector<Row> rows_;
};

}  // namespace

TEST_CASE("filters: every descriptor is named by its file, documented and ranged") {
  CHECK(filter_registry().size() >= 13);
  for (const Filter* filter : filter_registry()) {
    INFO(filter->name);
    CHECK_FALSE(filter->title.empty());
    CHECK(filter->make != nullptr);
    for (const FilterParameter& p : filter->parameters) {
      INFO(p.name);
      CHECK_FALSE(p.help.empty());
      CHECK(p.minimum <= p.maximum);
      if (p.kind == FilterParameter::Kind::kWord)
        CHECK(p.choices.size() == static_cast<std::size_t>(p.maximum) + 1);
    }
  }
}

TEST_CASE(
    "filters: unknown names, unknown parameters and values out of range are refused with a "
    "suggestion") {
  CHECK(test::error_of([] { (void)find_filter("lenght"); })->hint() == "did you mean 'length'?");
  const auto error = test::error_of([] { (void)make("length", {{"min_wrods", "1"}}); });
  REQUIRE(error);
  CHECK(error->hint() == "did you mean 'min_words'?");
  for (const auto& [name, settings] : std::vector<std::pair<std::string, Settings>>{
           {"length", {{"min_words", "-1"}}},
           {"length", {{"min_words", "1.5"}}},
           {"length", {{"min_words", "x"}}},
           {"length", {{"min_words", "1"}, {"min_words", "2"}}},
           {"length", {}},
           {"minhash", {{"threshold", "1.1"}}},
           {"minhash", {{"unit", "bytes"}}},
           {"exact", {{"part", "middle"}}},
           {"exact", {{"normalise", "maybe"}}},
           {"language", {{"keep", "klingon"}}},
           {"language", {}},
           {"judge", {{"field", "score"}}},
           {"judge", {{"first", "a"}}},
           {"perplexity", {{"max", "9"}}},
           {"diversity", {}},
           {"decontaminate", {}},
           {"length", {{"max_tokens", "5"}}}}) {
    INFO(name);
    CHECK(kind_of(name, settings) == ErrorKind::kUsage);
  }
}

TEST_CASE("exact: the first of rows that differ in case, white space and composition stays") {
  const auto filter = make("exact", {});
  CHECK(rule(*filter, answer("A caf\u00e9")).empty());
  CHECK(rule(*filter, answer("a  cafe\u0301\n")) == "duplicate");
  CHECK(rule(*filter, answer("a cafe")).empty());
  CHECK(rule(*filter, {{"messages",
                        {{{"role", "user"}, {"content", "Question?"}},
                         {{"role", "assistant"}, {"content", "A CAF\u00c9"}}}}}) == "duplicate");
  const auto strict = make("exact", {{"normalise", "false"}});
  CHECK(rule(*strict, answer("x")).empty());
  CHECK(rule(*strict, answer("X")).empty());
  const auto prompts = make("exact", {{"part", "prompt"}});
  CHECK(rule(*prompts, answer("x")).empty());
  CHECK(rule(*prompts, answer("y")) == "duplicate");
}

TEST_CASE("minhash filter: a row with one word changed goes, another text stays") {
  std::string text;
  for (int i = 0; i < 80; ++i)
    text += "sentence number " + std::to_string(i * i) + " of the text. ";
  const auto filter = make("minhash", {});
  CHECK(rule(*filter, {{"text", text}}).empty());
  std::string changed = text;
  changed.replace(100, 8, "SENTENCE");
  changed.replace(300, 3, "xyz");
  CHECK(rule(*filter, {{"text", changed}}) == "near duplicate");
  std::string other;
  for (int i = 0; i < 80; ++i)
    other += "a wholly different remark " + std::to_string(7 * i) + " here; ";
  CHECK(rule(*filter, {{"text", other}}).empty());
}

TEST_CASE("decontaminate: shared runs of words and near copies of an item go, other rows stay") {
  const test::Scratch scratch;
  write_file(
      scratch / "test.jsonl",
      R"({"question": "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."})"
      "\n"
      R"({"question": "What is two plus two minus one?", "answer": "3"})"
      "\n\n"
      R"({"question": "Why?"})"
      "\n");
  const Settings sets{{"set", (scratch / "test.jsonl").string()}};
  const auto filter = make("decontaminate", sets);
  CHECK(rule(*filter, answer("Consider: NATALIA sold clips to 48 of her friends in April, and then "
                             "she went home.")) == "n-gram");
  CHECK(rule(*filter, answer("what is two plus two minus one")) ==
        "n-gram");  // a short item, whole
  CHECK(rule(*filter, answer("Natalia sold 60 clips to 48 of her good friends in April and then "
                             "sold half as many clips in May")) == "rouge");
  CHECK(rule(*filter, answer("Natalia sold clips to some people and bought bread.")).empty());
  CHECK(rule(*filter, answer("Why?")).empty());
  const Json details = filter->details()["sets"][0];
  CHECK(details["items"] == 2);
  CHECK(details["passed_over"] == 1);
  CHECK(details["items_found"] == 2);
  CHECK(details["rows"] == 3);
  Settings plain = sets;
  plain.emplace_back("rouge", "0");
  CHECK(rule("decontaminate", plain,
             answer("Natalia sold 60 clips to 48 of her good friends in April and then sold half "
                    "as many clips in May"))
            .empty());
}

TEST_CASE("decontaminate: the bit-parallel common subsequence is the table's") {
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    std::vector<std::uint64_t> a(random() % 200), b(random() % 200);
    for (auto& x : a) x = random() % 6;
    for (auto& x : b) x = random() % 6;
    std::vector<std::vector<std::size_t>> table(a.size() + 1,
                                                std::vector<std::size_t>(b.size() + 1));
    for (std::size_t i = 1; i <= a.size(); ++i) {
      for (std::size_t j = 1; j <= b.size(); ++j)
        table[i][j] = a[i - 1] == b[j - 1] ? table[i - 1][j - 1] + 1
                                           : std::max(table[i - 1][j], table[i][j - 1]);
    }
    CHECK(common_subsequence(a, b) == table[a.size()][b.size()]);
  }
}

TEST_CASE("length: characters, words, and response to prompt") {
  CHECK(rule("length", {{"min_words", "3"}, {"part", "response"}}, answer("two words")) ==
        "too few words");
  CHECK(
      rule("length", {{"max_words", "3"}, {"part", "response"}}, answer("one two three")).empty());
  CHECK(
      rule("length", {{"max_characters", "3"}, {"part", "response"}}, answer("\u4e2d\u6587\u5b57"))
          .empty());
  CHECK(rule("length", {{"max_characters", "3"}, {"part", "response"}}, answer("abcd")) ==
        "too many characters");
  CHECK(rule("length", {{"min_ratio", "1"}}, answer("short")) ==
        "response too short for its prompt");
  CHECK(rule("length", {{"max_ratio", "1"}}, answer("longer than it")) ==
        "response too long for its prompt");
}

TEST_CASE("language: prose is told, what is short or no prose is not") {
  const std::pair<const char*, const char*> texts[] = {
      {"en",
       "The capital of France is Paris, and it has been the seat of its government for most of "
       "that time."},
      {"de",
       "Die Hauptstadt von Frankreich ist Paris, und sie ist seit langer Zeit der Sitz der "
       "Regierung des Landes."},
      {"fr",
       "La capitale de la France est Paris, et elle est depuis longtemps le si\u00e8ge du "
       "gouvernement dans le pays."},
      {"es",
       "La capital de Francia es Par\u00eds y es desde hace mucho tiempo la sede del gobierno de "
       "la naci\u00f3n en el pa\u00eds."},
      {"it",
       "La capitale della Francia \u00e8 Parigi ed \u00e8 da molto tempo la sede del governo che "
       "si trova nella citt\u00e0."},
      {"nl",
       "De hoofdstad van Frankrijk is Parijs en het is al heel lang de zetel van de regering van "
       "het land."},
      {"pt",
       "A capital da Fran\u00e7a \u00e9 Paris e \u00e9 h\u00e1 muito tempo a sede do governo, que "
       "n\u00e3o se mudou para outra cidade."},
      {"pl",
       "Stolic\u0105 Francji jest Pary\u017c i od dawna jest to siedziba rz\u0105du, kt\u00f3re "
       "nie by\u0142o w innym mie\u015bcie."},
      {"ru",
       "\u0421\u0442\u043e\u043b\u0438\u0446\u0430 \u0424\u0440\u0430\u043d\u0446\u0438\u0438 "
       "\u2014 \u041f\u0430\u0440\u0438\u0436, \u0438 \u043e\u043d \u0443\u0436\u0435 \u043d\u0435 "
       "\u0431\u044b\u043b \u0434\u0440\u0443\u0433\u0438\u043c \u0438 \u043d\u0435 "
       "\u0431\u0443\u0434\u0435\u0442 \u0432 \u0442\u043e \u0432\u0440\u0435\u043c\u044f"},
      {"zh", "\u6cd5\u56fd\u7684\u9996\u90fd\u662f\u5df4\u9ece\u3002"},
      {"ja", "\u30d5\u30e9\u30f3\u30b9\u306e\u9996\u90fd\u306f\u30d1\u30ea\u3067\u3059\u3002"},
      {"ko", "\ud504\ub791\uc2a4\uc758 \uc218\ub3c4\ub294 \ud30c\ub9ac\uc785\ub2c8\ub2e4."},
      {"el", "\u0397 \u03c0\u03c1\u03c9\u03c4\u03b5\u03cd\u03bf\u03c5\u03c3\u03b1"},
      {"und", "int main() { return x[i++] * y; } // foo bar baz qux quux"},
      {"und", "Paris, France"},
      {"und", "12 345 67"}};
  for (const auto& [code, text] : texts) {
    INFO(text);
    CHECK(guess_language(text).code == code);
  }
  const Json mixed{{"prompt", texts[0].second}, {"completion", texts[1].second}};
  CHECK(rule("language", {{"match", "true"}}, mixed) == "response in another language");
  CHECK(rule("language", {{"keep", "en"}, {"part", "prompt"}}, mixed).empty());
  CHECK(rule("language", {{"keep", "en"}, {"part", "response"}}, mixed) == "language de");
  CHECK(rule("language", {{"keep", "en"}}, answer("x")).empty());
  CHECK(rule("language", {{"keep", "en"}, {"unknown", "false"}}, answer("x")) ==
        "language not told");
}

TEST_CASE(
    "refusal and boilerplate: openings that decline and phrases that give away go, answers stay") {
  CHECK(rule("refusal", {}, answer("I'm sorry, but I can't help with that.")) == "refusal");
  CHECK(rule("refusal", {}, answer("As an AI language model, I do not eat.")) == "refusal");
  CHECK(rule("refusal", {},
             answer("Use a lock here. " + std::string(200, 'x') + " I cannot help with more."))
            .empty());
  CHECK(rule("refusal", {{"phrase", "No WAY"}}, answer("no way, friend")) == "refusal");
  CHECK(rule("refusal", {}, Json{{"prompt", "I'm unable to sleep"}, {"completion", "Try tea."}})
            .empty());
  CHECK(rule("boilerplate", {}, answer("Dear [Your Name], hello")) == "boilerplate");
  CHECK(rule("boilerplate", {}, answer("Lorem ipsum dolor")) == "boilerplate");
  CHECK(rule("boilerplate", {{"phrase", "art"}}, answer("a party")).empty());
  CHECK(rule("boilerplate", {{"phrase", "art"}}, answer("the art of it")) == "boilerplate");
}

TEST_CASE("repetition: loops go, prose stays") {
  std::string lines, loop, prose;
  for (int i = 0; i < 30; ++i) lines += "the same line again\n";
  for (int i = 0; i < 40; ++i) loop += "and so it goes on and on, ";
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i)
    prose += "w" + std::to_string(random() % 5000) + (i % 17 == 0 ? ".\n" : " ");
  CHECK(rule("repetition", {}, {{"text", lines}}) == "repeated lines");
  CHECK(rule("repetition", {}, {{"text", loop}}).starts_with("commonest"));
  CHECK(rule("repetition", {}, {{"text", prose}}).empty());
  CHECK(rule("repetition", {}, {{"text", "no no no no"}}).empty());
  std::string twice = prose + "\n" + prose;
  CHECK(rule("repetition", {}, {{"text", twice}}) == "repeated lines");
  CHECK(rule("repetition", {{"factor", "10"}}, {{"text", twice}}).empty());
}

TEST_CASE("format: JSON, fences and tags") {
  CHECK(rule("format", {{"json", "true"}}, answer("{\"a\": 1}")).empty());
  CHECK(rule("format", {{"json", "true"}}, answer("```json\n{\"a\": 1}\n```")).empty());
  CHECK(rule("format", {{"json", "true"}}, answer("{\"a\": 1,}")) == "no JSON");
  CHECK(rule("format", {{"key", "b"}}, answer("{\"a\": 1}")) == "JSON without a member");
  CHECK(rule("format", {}, answer("```py\nx = 1\n```\nand `y`")).empty());
  CHECK(rule("format", {}, answer("```py\nx = 1\n")) == "open code fence");
  CHECK(rule("format", {}, answer("````\n```\n````")).empty());
  CHECK(rule("format", {}, answer("<think>a</think>b")).empty());
  CHECK(rule("format", {}, answer("a</think>b<think>")) == "unbalanced tag");
}

TEST_CASE("judge: scores in range, and agreement of the two orders") {
  Json row = answer("x");
  row["judge"] = {{"score", 7}, {"swapped", 4}, {"ab", "first"}, {"ba", "second"}};
  CHECK(rule("judge", {{"field", "judge.score"}, {"min", "7"}}, row).empty());
  CHECK(rule("judge", {{"field", "judge.score"}, {"min", "8"}}, row) == "score too low");
  CHECK(rule("judge", {{"field", "judge.score"}, {"max", "6"}}, row) == "score too high");
  CHECK(rule("judge",
             {{"field", "judge.score"}, {"swapped", "judge.swapped"}, {"max_difference", "2"}},
             row) == "orders disagree");
  CHECK(rule("judge", {{"field", "judge.score"}, {"swapped", "judge.swapped"}, {"min", "6"}},
             row) == "score too low");
  CHECK(rule("judge", {{"first", "judge.ab"}, {"second", "judge.ba"}}, row) == "orders disagree");
  CHECK(rule("judge", {{"field", "nope"}, {"min", "1"}}, row) == "no score");
  CHECK(rule("judge", {{"field", "nope"}, {"min", "1"}, {"missing", "true"}}, row).empty());
}

TEST_CASE("validity: damaged, empty and unanswered rows go") {
  const auto chat = [](const std::vector<std::pair<const char*, const char*>>& turns) {
    Json messages = Json::array();
    for (const auto& [role, content] : turns)
      messages.push_back({{"role", role}, {"content", content}});
    return Json{{"messages", messages}};
  };
  CHECK(rule("validity", {}, chat({{"system", "s"}, {"user", "u"}, {"assistant", "a"}})).empty());
  CHECK(rule("validity", {},
             chat({{"user", "u"}, {"assistant", ""}, {"tool", "t"}, {"assistant", "a"}}))
            .empty());
  CHECK(rule("validity", {}, chat({{"user", "u"}})) == "no assistant at the end");
  CHECK(rule("validity", {}, chat({{"user", "u"}, {"user", "v"}, {"assistant", "a"}})) ==
        "roles out of turn");
  CHECK(rule("validity", {}, chat({{"human", "u"}})) == "unknown role");
  CHECK(rule("validity", {}, chat({{"user", " "}, {"assistant", "a"}})) == "empty text");
  CHECK(rule("validity", {}, chat({})) == "no messages");
  CHECK(rule("validity", {}, answer("bad \uFFFD")) == "damaged text");
  CHECK(rule("validity", {}, answer(std::string("nul \0", 5))) == "damaged text");
  CHECK(rule("validity", {}, {{"question", "x"}}) == "unknown kind of row");
  CHECK(rule("validity", {{"turns", "false"}}, chat({{"user", "u"}})).empty());
}

TEST_CASE("perplexity: the student's scores decide, and a text of no tokens goes") {
  FilterContext context;
  context.score = [](const std::vector<std::string>& texts) {
    std::vector<TextScore> scores;
    for (const auto& text : texts)
      scores.push_back({static_cast<double>(text.size()), text == "none" ? 0 : 2});
    return scores;
  };
  const auto filter = make("perplexity", {{"min", "5"}, {"max", "100"}}, context);
  const auto drops = filter->select(Rows({"ab", "abcd", "abcdefghijkl", "none"}));  // e^1, e^2, e^6
  CHECK(drops[0]->rule == "perplexity too low");
  CHECK_FALSE(drops[1]);
  CHECK(drops[2]->rule == "perplexity too high");
  CHECK(drops[3]->rule == "too short to score");
}

TEST_CASE("diversity: farthest first keeps one of each group before a second of any") {
  std::vector<std::string> texts;
  for (int copy = 0; copy < 4; ++copy) {
    for (const char* base : {"the quick brown fox jumps over the lazy dog again",
                             "0123456789 9876543210 5555566666 77777",
                             "pack my box with five dozen liquor jugs, please"})
      texts.push_back(std::string(base) + " " + std::string(static_cast<std::size_t>(copy), '!'));
  }
  const auto filter = make("diversity", {{"keep", "3"}});
  const auto drops = filter->select(Rows(texts));
  std::set<std::size_t> groups;
  for (std::size_t i = 0; i < drops.size(); ++i) {
    if (!drops[i]) groups.insert(i % 3);
  }
  CHECK(groups.size() == 3);
  CHECK(filter->details()["kept"] == 3);
  const auto near = make("diversity", {{"min_distance", "0.5"}});
  (void)near->select(Rows(texts));
  CHECK(near->details()["kept"] == 3);
  const auto half = make("diversity", {{"fraction", "0.5"}});
  (void)half->select(Rows(texts));
  CHECK(half->details()["kept"] == 6);
  const auto none = make("diversity", {{"keep", "3"}});
  CHECK(none->select(Rows({})).empty());
}
