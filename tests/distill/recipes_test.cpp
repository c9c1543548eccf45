// Recipes against a teacher that answers from the question: no network, no journal.

#include "distill/recipe.h"

#include <functional>
#include <map>
#include <set>

#include "core/file.h"
#include "distill/job.h"
#include "distill/overlap.h"
#include "distill/seeds.h"
#include "distill/turn.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {

using Answering = std::function<std::string(const TeacherRequest&)>;

struct Run {
  std::vector<Json> rows;
  std::string dropped;
  std::vector<TeacherRequest> asked;
};

TeacherAnswer spoken(const std::string& text) {
  TeacherAnswer out;
  out.text = text;
  out.model = "toy";
  out.usage = {.prompt = 5, .completion = text.size() / 4 + 1};
  // Texts like "!length" stand for typed failures.
  if (text.starts_with("!")) out.ending = parse_ending(text.substr(1));
  // "@length 3": cut after a prompt of three tokens was scored.
  if (text.starts_with("@")) {
    out.ending = Ending::kLength;
    for (char i = '0'; i < text.back(); ++i)
      out.prompt_tokens.push_back({.bytes = "t", .id = i, .logprob = -1.0 * i, .top = {}});
  }
  return out;
}

Run run(std::string_view name, const Json& seed, const Answering& answer,
        const std::map<std::string, double>& numbers = {},
        const std::map<std::string, std::string>& words = {}) {
  const DataRecipe& recipe = find_data_recipe(name);
  DataOptions options = default_options(recipe);
  for (std::size_t i = 0; i < recipe.parameters.size(); ++i) {
    const std::string parameter(recipe.parameters[i].name);
    if (numbers.contains(parameter)) options.numbers[i] = numbers.at(parameter);
    if (words.contains(parameter)) options.words[i] = words.at(parameter);
  }
  const PromptLibrary prompts{std::string(name), {}};
  const TurnContext context{recipe, options, prompts, {{"temperature", 0.7}, {"max_tokens", 100}},
                            true,   1};
  Turn turn(context, {seed, seed_key(recipe, seed, 0), "test:1", 0});
  Run out;
  for (int steps = 0; turn.run() == Turn::State::kWaiting; ++steps) {
    REQUIRE(steps < 100);
    std::size_t number = turn.asked();
    for (const TeacherRequest& request : turn.take_questions()) {
      out.asked.push_back(request);
      turn.answer(number++, spoken(answer(request)));
    }
    REQUIRE(turn.has_all());
  }
  out.rows = turn.take_rows();
  out.dropped = turn.dropped();
  return out;
}

std::string last_words(const TeacherRequest& request) {
  if (request.route == Route::kExecute) return request.body["program"];
  if (request.body.contains("prompt")) return request.body["prompt"];
  return request.body["messages"].back()["content"];
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("recipes: every one has its prompts, its defaults in range and a bound on its requests") {
  for (const DataRecipe* recipe : data_recipe_registry()) {
    INFO(recipe->name);
    const PromptLibrary prompts{std::string(recipe->name), {}};
    for (const std::string_view name : recipe->prompts)
      CHECK_FALSE(prompts.text(std::string(name)).empty());
    for (const DataParameter& each : recipe->parameters) {
      INFO(each.name);
      CHECK_FALSE(each.help.empty());
      const bool ranged =
          each.kind == DataParameter::Kind::kNumber || each.kind == DataParameter::Kind::kInteger;
      if (ranged) {
        CHECK(each.fallback >= each.minimum);
        CHECK(each.fallback <= each.maximum);
      }
      if (!each.choices.empty())
        CHECK(std::find(each.choices.begin(), each.choices.end(), each.word) != each.choices.end());
    }
    CHECK(recipe->requests(default_options(*recipe)) >= 1);
    CHECK_FALSE(recipe->title.empty());
  }
  // No prompt file that no recipe reads.
  std::set<std::string> known;
  for (const DataRecipe* recipe : data_recipe_registry()) {
    for (const std::string_view name : recipe->prompts)
      known.insert(std::string(recipe->name) + "/" + std::string(name) + ".txt");
  }
  for (const auto& each : fs::recursive_directory_iterator(share_dir() / "prompts")) {
    if (each.is_regular_file())
      CHECK(known.contains(fs::relative(each.path(), share_dir() / "prompts").string()));
  }
}

TEST_CASE("recipes: with a teacher that only errs, none emits a row") {
  for (const DataRecipe* recipe : data_recipe_registry()) {
    for (const char* outcome : {"!length", "!refusal", "!content_filter", "!empty", "!rejected"}) {
      INFO(recipe->name << " " << outcome);
      Json seed{{std::string(recipe->needs), "a b c d\ne f g\nh i j\nk l m\n"}};
      if (recipe->name == "self_instruct") seed["shown"] = {"one task", "two task"};
      const Run done = run(recipe->name, seed, [&](const auto&) { return outcome; });
      // Cut reasoning is what budget forcing is about; a hole in real code needs no teacher.
      if (recipe->name == "fim" || (recipe->name == "budget_forcing" && done.rows.empty()))
        continue;
      CHECK(done.rows.empty());
    }
  }
}

TEST_CASE("instruct: the row is the conversation and its answer, with who said it") {
  const Run done = run("instruct", {{"prompt", "Why?"}}, [](const auto&) { return "Because."; }, {},
                       {{"system", "Be brief."}});
  REQUIRE(done.rows.size() == 1);
  CHECK(
      done.rows[0]["messages"].dump() ==
      R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Why?"},{"role":"assistant","content":"Because."}])");
  CHECK(done.rows[0]["provenance"]["model"] == "toy");
  CHECK(done.asked[0].body["temperature"] == 0.7);
  CHECK(done.asked[0].body.contains("seed"));
}

TEST_CASE("best_of_n: the highest score wins, the first of equals, and a low best is dropped") {
  const auto teacher = [](const std::vector<std::string>& scores) {
    auto draws = std::make_shared<int>(0);
    auto judged = std::make_shared<std::size_t>(0);
    return [=](const TeacherRequest& request) -> std::string {
      if (!has(last_words(request), "[Answer]")) return "answer " + std::to_string((*draws)++);
      return scores.at((*judged)++);
    };
  };
  const Json seed{{"prompt", "Why?"}};
  const Run done =
      run("best_of_n", seed,
          teacher({"2 of them.\nScore: 2", "**Score:** 5", "Score: 5/5", "no idea"}), {{"n", 4}});
  REQUIRE(done.rows.size() == 1);
  CHECK(done.rows[0]["messages"].back()["content"] == "answer 1");
  CHECK(done.rows[0]["scores"].dump() == "[2.0,5.0,5.0,null]");
  CHECK(done.asked.size() == 8);
  CHECK(done.asked[7].body["temperature"] == 0.0);
  CHECK(run("best_of_n", seed, teacher({"Score: 3", "Score: 2"}), {{"n", 2}}).dropped ==
        "score too low");
}

TEST_CASE("preference: a pair stays only when the judge agrees with itself in both orders") {
  const auto teacher = [](bool biased) {
    auto draws = std::make_shared<int>(0);
    return [=](const TeacherRequest& request) -> std::string {
      const std::string text = last_words(request);
      if (has(text, "[Answer A]")) {
        const bool good_first = text.find("answer 1") < text.find("answer 0");
        return biased || good_first ? "Winner: A" : "It is B. Winner: B";
      }
      if (has(text, "[Answer]")) return has(text, "answer 1") ? "Score: 5" : "Score: 2";
      return "answer " + std::to_string((*draws)++);
    };
  };
  const Json seed{{"prompt", "Why?"}};
  const Run done = run("preference", seed, teacher(false), {{"n", 2}});
  REQUIRE(done.rows.size() == 1);
  CHECK(done.rows[0]["chosen"] == "answer 1");
  CHECK(done.rows[0]["rejected"] == "answer 0");
  CHECK(run("preference", seed, teacher(true), {{"n", 2}}).dropped ==
        "the judge contradicts itself");
}

TEST_CASE("evol_instruct: what gains nothing is eliminated and the instruction before it goes on") {
  int evolved = 0;
  const Run done =
      run("evol_instruct", {{"prompt", "Name a tree."}},
          [&](const TeacherRequest& request) -> std::string {
            const std::string text = last_words(request);
            if (has(text, "[Second]")) return has(text, "harder 2") ? "Score: 0" : "new. Score: 1";
            if (has(text, "Write only the new instruction")) {
              if (++evolved == 3)
                return has(text, "harder 1") ? "Here is the rewritten prompt" : "lost";
              return "Name a far harder " + std::to_string(evolved) + " tree of the north";
            }
            return "An oak, since it is a tree.";
          },
          {{"rounds", 4}});
  CHECK(evolved == 4);
  REQUIRE(done.rows.size() == 2);  // 2 was judged equal, 3 leaked the prompt
  CHECK(done.rows[0]["messages"][0]["content"] == "Name a far harder 1 tree of the north");
  CHECK(done.rows[1]["messages"][0]["content"] == "Name a far harder 4 tree of the north");
  CHECK(done.rows[1]["evolution"].size() == 2);
}

TEST_CASE("self_instruct: rounds build on admitted rows, near copies are refused") {
  const DataRecipe& recipe = find_data_recipe("self_instruct");
  DataOptions options = default_options(recipe);
  options.numbers[0] = 3;
  const std::vector<Json> seeds{{{"prompt", "Write a poem about rain"}}};
  std::vector<Json> rows;
  const auto first = recipe.next_round({0, seeds, rows, options, 1});
  REQUIRE(first.size() == 32);
  CHECK(first[0]["shown"].size() == 1);
  CHECK(first[0] != first[1]);
  const Run done = run("self_instruct", first[0], [](const TeacherRequest& request) -> std::string {
    if (has(last_words(request), "numbered on from 2"))
      return "Task 2: Sort these words by length\nTask 3: Draw a picture of a cat\n"
             "Task 4: Explain why the sky is blue\nto a child\nTask 5: Hi";
    return "Done as asked.";
  });
  REQUIRE(done.rows.size() == 2);  // no picture, no stub
  CHECK(done.rows[1]["instruction"] == "Explain why the sky is blue\nto a child");
  for (const Json& row : done.rows) {
    CHECK(recipe.admit(row, rows, options));
    rows.push_back(row);
  }
  CHECK_FALSE(recipe.admit({{"instruction", "Sort these words by their length"}}, rows, options));
  CHECK(recipe.next_round({1, seeds, rows, options, 1})[0]["shown"].size() == 3);
  rows.push_back({{"instruction", "x"}});
  CHECK(recipe.next_round({2, seeds, rows, options, 1}).empty());
}

TEST_CASE("magpie: the user's turn comes raw from the prefix, the answer by chat") {
  const Json seed{{"prefix", "<|user|>\n"}, {"stop", {"<|end|>"}}};
  const Run done = run("magpie", seed, [](const TeacherRequest& request) -> std::string {
    return request.route == Route::kCompletions ? " How tall do oaks grow? \n" : "Tall.";
  });
  REQUIRE(done.rows.size() == 1);
  CHECK(done.asked[0].body["prompt"] == "<|user|>\n");
  CHECK(done.asked[0].body["stop"][0] == "<|end|>");
  CHECK(done.asked[0].body["temperature"] == 1.0);
  CHECK(done.rows[0]["messages"][0]["content"] == "How tall do oaks grow?");
  CHECK(run("magpie", seed, [](const auto&) { return "hm"; }).dropped ==
        "the user said too little");
}

TEST_CASE(
    "budget_forcing: the end of thinking is ignored as often as asked, then the answer comes") {
  const Run done = run("budget_forcing", {{"prompt", "2+2?"}},
                       [](const TeacherRequest& request) -> std::string {
                         const std::string text = last_words(request);
                         if (has(text, "</think>")) return " 4 ";
                         return has(text, "Wait") ? " it is still 4." : "It is 4.";
                       },
                       {{"waits", 2}});
  REQUIRE(done.rows.size() == 1);
  CHECK(done.rows[0]["reasoning"] == "It is 4.\nWait it is still 4.\nWait it is still 4.");
  CHECK(done.rows[0]["waits"] == 2);
  CHECK(done.rows[0]["messages"].back()["content"] == "4");
  CHECK(done.asked.size() == 4);
}

TEST_CASE(
    "maths: right answers stay, by the known one or by the majority, without false equations") {
  const auto teacher = [](std::vector<std::string> texts) {
    auto next = std::make_shared<std::size_t>(0);
    return [=](const auto&) { return texts.at((*next)++); };
  };
  const Json known{{"question", "Half of 1?"}, {"answer", "0.5"}};
  const Run done = run("maths", known,
                       teacher({"It is 2. \\boxed{2}", "1/2 = 0.6 so \\boxed{0.5}",
                                "\\boxed{\\frac{1}{2}}", "the answer is 50%."}),
                       {{"n", 4}, {"keep", 4}});
  REQUIRE(done.rows.size() == 2);
  CHECK(done.rows[0]["answer"] == "\\frac{1}{2}");
  CHECK(done.rows[0]["pass_rate"] == 0.75);
  CHECK(done.rows[0]["verified"] == "answer");
  const Json open{{"question", "Half of 1?"}};
  CHECK(run("maths", open, teacher({"\\boxed{1}", "\\boxed{2}", "\\boxed{3}", "\\boxed{1}"}),
            {{"n", 4}})
            .dropped == "no majority");
  const Run voted = run("maths", open, teacher({"\\boxed{7}", "#### 7", "\\boxed{3}"}), {{"n", 3}});
  REQUIRE(voted.rows.size() == 1);
  CHECK(voted.rows[0]["verified"] == "majority");
}

TEST_CASE("code_execution: only what passes stays, repairs see what happened, guards run") {
  const auto teacher = [](int failures, std::set<std::string> passing) {
    auto failed = std::make_shared<int>(0);
    return [=](const TeacherRequest& request) -> std::string {
      const std::string text = last_words(request);
      if (request.route == Route::kExecute) {
        if (passing.contains(text)) return "ok";
        if (!has(text, "def f")) return "exit";
        return (*failed)++ < failures ? "exit" : "ok";
      }
      if (has(text, "[What happened]")) return "Off by one.\n```python\ndef f(): return 2\n```";
      if (has(text, "[Solution]")) return "```python\nassert f() == 2\n```";
      if (has(text, "[Snippet]")) return "Write f.";
      return "```python\ndef f(): return 1\n```";
    };
  };
  const Json seed{{"text", "x = 1"}};
  const Run done = run("code_execution", seed, teacher(1, {}));
  REQUIRE(done.rows.size() == 1);
  CHECK(done.rows[0]["rounds"] == 1);
  CHECK(done.rows[0]["messages"].size() == 2);
  CHECK(has(done.rows[0]["messages"][1]["content"].get<std::string>(), "return 2"));
  CHECK(done.rows[0]["tests"] == "assert f() == 2\n");
  const auto runs = std::count_if(done.asked.begin(), done.asked.end(),
                                  [](const auto& each) { return each.route == Route::kExecute; });
  CHECK(runs == 4);  // failed, passed, without the solution, once more
  CHECK(run("code_execution", seed, teacher(9, {})).dropped == "the tests fail");
  CHECK(run("code_execution", seed, teacher(0, {"assert f() == 2\n"})).dropped ==
        "the tests test nothing");
  CHECK(run("code_execution", seed, teacher(1, {}), {{"keep_repairs", 1}})
            .rows[0]["messages"]
            .size() == 4);
}

TEST_CASE("document_qa: only what its passage supports stays") {
  const Run done = run("document_qa", {{"text", "Oaks are tall. Ash is grey."}},
                       [](const TeacherRequest& request) -> std::string {
                         const std::string text = last_words(request);
                         if (has(text, "Write one question a line"))
                           return "1. How tall are oaks?\n- What is grey?\nno question";
                         if (has(text, "[Answer]"))
                           return has(text, "green") ? "Score: 0" : "Score: 1";
                         return has(text, "What is grey?") ? "The green ash." : "Oaks are tall.";
                       });
  REQUIRE(done.rows.size() == 1);
  CHECK(
      done.rows[0]["messages"].dump() ==
      R"([{"role":"user","content":"How tall are oaks?"},{"role":"assistant","content":"Oaks are tall."}])");
}

TEST_CASE("dialogue: turns alternate, the user may end it, short ones are dropped") {
  const auto teacher = [](int turns) {
    auto spoken_turns = std::make_shared<int>(0);
    return [=](const TeacherRequest& request) -> std::string {
      if (!has(last_words(request), "You are the user")) return "I say.";
      return ++*spoken_turns >= turns ? "[END]" : "And then?";
    };
  };
  const Run done = run("dialogue", {{"prompt", "Hi"}}, teacher(9), {{"turns", 3}});
  REQUIRE(done.rows.size() == 1);
  REQUIRE(done.rows[0]["messages"].size() == 6);
  for (std::size_t i = 0; i < 6; ++i)
    CHECK(done.rows[0]["messages"][i]["role"] == (i % 2 == 0 ? "user" : "assistant"));
  CHECK(run("dialogue", {{"prompt", "Hi"}}, teacher(1)).dropped == "dialogue too short");
}

TEST_CASE("fim: prefix, middle and suffix are the file again") {
  std::string code;
  for (int i = 0; i < 40; ++i) code += "  line " + std::to_string(i) + " \xC3\xA9;\n";
  const Run done = run("fim", {{"text", code}}, [](const auto&) { return ""; }, {{"spans", 20}});
  REQUIRE(done.rows.size() == 20);
  std::set<std::string> middles;
  for (const Json& row : done.rows) {
    const auto prefix = row["prefix"].get<std::string>();
    CHECK(prefix + row["completion"].get<std::string>() + row["suffix"].get<std::string>() == code);
    CHECK(prefix.ends_with('\n'));
    middles.insert(row["completion"]);
  }
  CHECK(middles.size() > 5);
}

TEST_CASE("score: the prompt's log probabilities are the row, a server that gives none is no row") {
  const Run done =
      run("score", {{"text", "a b c"}}, [](const auto&) { return "@length 3"; }, {{"top", 7}});
  REQUIRE(done.rows.size() == 1);
  CHECK(logprobs_from_json(done.rows[0]["teacher"]).size() == 3);
  CHECK(done.asked[0].body["echo"] == true);
  CHECK(done.asked[0].body["logprobs"] == 7);
  CHECK(done.asked[0].route == Route::kCompletions);
  CHECK(run("score", {{"text", "a"}}, [](const auto&) { return "words"; }).dropped ==
        "the server does not score prompts");
}

TEST_CASE("persona and backtranslation: two questions, one row") {
  const Run persona = run("persona", {{"persona", "A smith"}}, [](const TeacherRequest& request) {
    return std::string(has(last_words(request), "A smith") ? "How hot is iron?" : "Hot.");
  });
  REQUIRE(persona.rows.size() == 1);
  CHECK(persona.rows[0]["messages"][0]["content"] == "How hot is iron?");
  const auto grading = [](const char* score) {
    return [=](const TeacherRequest& request) {
      return std::string(has(last_words(request), "[Instruction]") ? score : "Describe iron.");
    };
  };
  const Json text{{"text", "Iron is a metal."}};
  REQUIRE(run("backtranslation", text, grading("Score: 5")).rows.size() == 1);
  CHECK(run("backtranslation", text, grading("Score: 4")).dropped == "score too low");
}

TEST_CASE("prompts: values are put in once, unknown names and open braces are refused by file") {
  CHECK(fill_prompt("a {{x}} b {{y}}", {{"x", "{{y}}"}, {"y", "2"}}, "f") == "a {{y}} b 2");
  const auto error = test::error_of([] { (void)fill_prompt("{{z}}", {{"x", "1"}}, "r/f.txt"); });
  REQUIRE(error);
  CHECK(has(error->message(), "r/f.txt"));
  CHECK(has(error->hint(), "{{x}}"));
  CHECK(test::error_of([] { (void)fill_prompt("{{z", {}, "f"); }));
}

TEST_CASE("rouge_l: the longest common subsequence of words, by a slow obvious version") {
  const std::function<std::size_t(const std::vector<std::string>&, const std::vector<std::string>&,
                                  std::size_t, std::size_t)>
      slow = [&](const auto& a, const auto& b, std::size_t i, std::size_t j) -> std::size_t {
    if (i == a.size() || j == b.size()) return 0;
    if (a[i] == b[j]) return 1 + slow(a, b, i + 1, j + 1);
    return std::max(slow(a, b, i + 1, j), slow(a, b, i, j + 1));
  };
  const Random random(4, "rouge");
  for (std::uint64_t round = 0; round < 100; ++round) {
    std::vector<std::string> a, b;
    for (std::uint64_t i = 0; i < 1 + round % 8; ++i)
      a.push_back(std::string(1, static_cast<char>('a' + random.bits(round * 40 + i) % 4)));
    for (std::uint64_t i = 0; i < 1 + round % 5; ++i)
      b.push_back(std::string(1, static_cast<char>('a' + random.bits(round * 40 + 20 + i) % 4)));
    const double wanted =
        2.0 * static_cast<double>(slow(a, b, 0, 0)) / static_cast<double>(a.size() + b.size());
    CHECK(rouge_l(a, b) == wanted);
  }
  CHECK(plain_words("It's caf\xC3\xA9, isn't it?") ==
        std::vector<std::string>{"it", "s", "caf\xC3\xA9", "isn", "t", "it"});
}
