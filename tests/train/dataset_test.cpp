// Rows of training data to tokens: what counts, what is refused and by which words, what is held
// out, in what order.

#include "distill/train/dataset.h"

#include <cmath>
#include <numeric>
#include <set>

#include "core/base64.h"
#include "core/parallel.h"
#include "distill/teacher/answer.h"
#include "tests/torch_catch.h"
#include "tests/train/byte_tokenizer.h"

using namespace lancet;
using test::error_of;
using test::Scratch;

namespace {

struct Loaded {
  std::unique_ptr<Scratch> folder = std::make_unique<Scratch>();
  Tokenizer tokenizer = test::byte_tokenizer();
  std::optional<Dataset> data;
};

/// Rows written into a file and loaded.
Loaded load(const std::string& text, DatasetOptions options = {}) {
  Loaded out;
  write_file(*out.folder / "rows.jsonl", text);
  out.data = Dataset::load({*out.folder / "rows.jsonl"}, test::chat_ml(), out.tokenizer, options);
  return out;
}

std::string refusal(const std::string& text, DatasetOptions options = {}) {
  const auto error = error_of([&] { (void)load(text, options); });
  return error ? std::string(error->what()) : "";
}

/// The counted tokens as text, '|' between runs of them.
std::string counted(const Loaded& loaded, std::size_t row) {
  const Example example = loaded.data->example(row);
  std::string out;
  for (std::size_t t = 0; t < example.ids.size(); ++t) {
    if (example.target[t] == 0) continue;
    if (!out.empty() && example.target[t - 1] == 0) out += '|';
    out += loaded.tokenizer.decode({example.ids[t]}, false);
  }
  return out;
}

std::string rows(const std::vector<Json>& all) {
  std::string out;
  for (const Json& row : all) out += row.dump() + "\n";
  return out;
}

/// {{"text", "a"}} as a line; one row in braces is ambiguous as a list.
std::string line(const Json& row) { return row.dump() + "\n"; }

Json chat(const std::vector<std::pair<std::string, std::string>>& turns) {
  Json messages = Json::array();
  for (const auto& [role, content] : turns)
    messages.push_back({{"role", role}, {"content", content}});
  return {{"messages", messages}};
}

}  // namespace

TEST_CASE("dataset: of a conversation the assistant's turns count, with their end token") {
  const Loaded all = load(line(chat(
      {{"system", "s"}, {"user", "u"}, {"assistant", "yes"}, {"user", "v"}, {"assistant", "no"}})));
  CHECK(counted(all, 0) == "yes<|im_end|>|no<|im_end|>");
  const Example example = all.data->example(0);
  CHECK(example.line == 1);
  CHECK(example.ids.front() == test::kStart);
  CHECK(example.ids.back() == '\n');
  CHECK(example.target.back() == 0);
  CHECK(all.data->sample(0, all.tokenizer).answer == "no");
  CHECK(all.data->sample(0, all.tokenizer).prompt.ends_with("<|im_start|>assistant\n"));
}

TEST_CASE("dataset: a turn of weight 0 is read and not learnt") {
  Json row = chat({{"user", "u"}, {"assistant", "yes"}, {"user", "v"}, {"assistant", "no"}});
  row["messages"][1]["weight"] = 0;
  row["messages"][3]["weight"] = 1;
  const Loaded all = load(line(row) + line(chat({{"user", "u"}, {"assistant", "yes"}})));
  CHECK(counted(all, 0) == "no<|im_end|>");
  CHECK(counted(all, 1) == "yes<|im_end|>");
  row["messages"][3]["weight"] = 0;
  CHECK_THAT(refusal(line(row)), Catch::Contains("1 empty"));
  row["messages"][3]["weight"] = 0.5;
  CHECK_THAT(refusal(line(row)),
             Catch::Contains("rows.jsonl:1: message 3: weight: expected 0 or 1"));
  row["messages"][3].erase("weight");
  row["messages"][0]["weight"] = 1;
  CHECK_THAT(refusal(line(row)), Catch::Contains("message 0: weight:"));
}

TEST_CASE("dataset: unknown roles, and members that no template reads, are refused by line") {
  const Json good = chat({{"user", "u"}, {"assistant", "yes"}});
  CHECK_THAT(refusal(line(good) + line(chat({{"usr", "u"}, {"assistant", "yes"}}))),
             Catch::Contains("1 keys") && Catch::Contains("rows.jsonl:2: message 0: unknown role "
                                                          "'usr': did you mean 'user'?"));
  Json row = good;
  row["messages"][1]["contnt"] = "x";
  CHECK_THAT(refusal(line(row)), Catch::Contains("message 1: unknown key 'contnt'"));
  CHECK(refusal(line(row), {.ignored_keys = {"contnt"}}).empty());
  row = good;
  row["messages"][1]["reasoning_content"] = "because";
  row["messages"][0]["name"] = "Ann";
  CHECK(refusal(line(row)).empty());
}

TEST_CASE("dataset: generation blocks of a template say what counts") {
  Scratch folder;
  const Tokenizer tokenizer = test::byte_tokenizer();
  write_file(folder / "rows.jsonl", line(chat({{"user", "u"}, {"assistant", "yes"}})));
  const Dataset data =
      Dataset::load({folder / "rows.jsonl"},
                    std::optional<ChatFormat>(
                        std::in_place,
                        "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %}"
                        "{{ m.content }}<|im_end|>{% endgeneration %}{% else %}U:{{ m.content }}"
                        "{% endif %}{% endfor %}",
                        Json::object()),
                    tokenizer, {});
  const Example example = data.example(0);
  CHECK(tokenizer.decode(example.ids, false) == "U:uA:yes<|im_end|>");
  CHECK(example.target == std::vector<std::uint8_t>{0, 0, 0, 0, 0, 1, 1});
}

TEST_CASE("dataset: a template that rewrites earlier turns is refused by line, not guessed") {
  Scratch folder;
  const Tokenizer tokenizer = test::byte_tokenizer();
  write_file(folder / "rows.jsonl", line(chat({{"user", "u"}, {"assistant", "yes"}})));
  const auto error = error_of([&] {
    (void)Dataset::load(
        {folder / "rows.jsonl"},
        std::optional<ChatFormat>(std::in_place,
                                  "{{ messages | length }}{% for m in messages %}{{ m.content }}"
                                  "{% endfor %}",
                                  Json::object()),
        tokenizer, {});
  });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kInput);
  CHECK(error->message().find("rows.jsonl:1: message 1: the template does not tell") !=
        std::string::npos);
}

TEST_CASE("dataset: a completion counts with the end token, a prompt does not") {
  const Loaded all = load(line({{"prompt", "ab"}, {"completion", "cd"}}));
  CHECK(counted(all, 0) == "cd<|im_end|>");
  // A token that reaches over the border is part of the answer.
  const Loaded over = load(line({{"prompt", "xy"}, {"completion", "es"}}));
  CHECK(counted(over, 0) == "yes<|im_end|>");
  const Loaded text = load(line({{"text", "abc"}}));
  CHECK(counted(text, 0) == "bc<|im_end|>");
  DatasetOptions as_chat;
  as_chat.as_chat = true;
  const Loaded talk = load(line({{"prompt", "ab"}, {"completion", "cd"}}), as_chat);
  CHECK(talk.tokenizer.decode(talk.data->example(0).ids, false) ==
        "<|im_start|>user\nab<|im_end|>\n<|im_start|>assistant\ncd<|im_end|>\n");
  CHECK(counted(talk, 0) == "cd<|im_end|>");
}

TEST_CASE("dataset: preferences are pairs, as strings or as messages") {
  DatasetOptions options;
  options.need = DataNeed::kPreference;
  const auto said = [](const char* role, const char* content) {
    return Json::array({Json{{"role", role}, {"content", content}}});
  };
  const Loaded all = load(line({{"prompt", "q"}, {"chosen", "good"}, {"rejected", "bad"}}) +
                              line({{"prompt", said("user", "q")},
                                    {"chosen", said("assistant", "g")},
                                    {"rejected", said("assistant", "b")}}),
                          options);
  const Preference pair = all.data->preference(0);
  CHECK(all.tokenizer.decode(pair.chosen.ids, true) == "qgood");
  CHECK(all.tokenizer.decode(pair.rejected.ids, true) == "qbad");
  CHECK(all.data->lengths()[0] == 6 + 5);
  CHECK(all.tokenizer.decode(all.data->preference(1).rejected.ids, false) ==
        "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n");
  CHECK(all.data->preference(1).rejected.line == 2);
}

TEST_CASE("dataset: every kind of bad row is counted, named by line, and refused or left out") {
  const std::string text = line({{"text", "good"}}) +                            // 1
                           "{\"text\": \"torn\n"                                 // 2 json
                           "{\"text\": \"\xff\"}\n\n" +                          // 3 utf8, 4 blank
                           line({{"prompt", "a"}, {"completion", "b"}}) +        // 5 mixed
                           line({{"words", "b"}}) +                              // 6 kind
                           line({{"text", "b"}, {"txet", 1}}) +                  // 7 keys
                           line({{"text", "b"}, {"messages", Json::array()}}) +  // 8 kind
                           line({{"text", ""}}) +                                // 9 empty
                           line({{"chosen", "a"}, {"rejected", "b"}}) +          // 10 kind
                           line({{"text", "last"}});                             // 11
  const std::string message = refusal(text);
  CHECK(message.find("7 of 10 rows cannot be used") != std::string::npos);
  CHECK(message.find("rows.jsonl:2: ") != std::string::npos);
  CHECK(message.find("rows.jsonl:5: a row of prompt_completion, the first ones are text") !=
        std::string::npos);
  DatasetOptions skip;
  skip.bad_rows = BadRows::kSkip;
  const Loaded all = load(text, skip);
  CHECK(all.data->size() == 2);
  CHECK(all.data->example(1).line == 11);
  const DatasetReport& report = all.data->report();
  CHECK(report.rows == 10);
  CHECK(report.kept == 2);
  std::map<std::string, std::uint64_t> problems(report.problems.begin(), report.problems.end());
  CHECK(problems ==
        std::map<std::string, std::uint64_t>{
            {"json", 1}, {"utf8", 1}, {"mixed", 1}, {"kind", 3}, {"keys", 1}, {"empty", 1}});
  REQUIRE(report.messages.size() == 8);
  CHECK(report.messages[4].find("rows.jsonl:7: unknown key 'txet': did you mean 'text'?") !=
        std::string::npos);
  skip.ignored_keys = {"txet"};
  CHECK(load(text, skip).data->size() == 3);
}

TEST_CASE("dataset: rows that are too long are cut, left out or refused as told") {
  const std::string text = line({{"prompt", "abc"}, {"completion", "defghij"}}) +
                           line({{"prompt", "abcdefghijk"}, {"completion", "l"}}) +
                           line({{"prompt", "a"}, {"completion", "b"}});
  DatasetOptions options;
  options.max_length = 6;
  CHECK(refusal(text, options).find("rows.jsonl:2: nothing counts in its first 6 tokens") !=
        std::string::npos);
  options.bad_rows = BadRows::kSkip;
  const Loaded cut = load(text, options);
  CHECK(cut.data->size() == 2);
  CHECK(cut.data->report().truncated == 1);
  CHECK(counted(cut, 0) == "def");
  options.overlong = Overlong::kSkip;
  options.bad_rows = BadRows::kError;
  const Loaded skipped = load(text, options);
  CHECK(skipped.data->size() == 1);
  CHECK(skipped.data->report().overlong_skipped == 2);
  options.overlong = Overlong::kError;
  CHECK(refusal(text, options).find("2 overlong") != std::string::npos);
}

namespace {

std::vector<TeacherToken> columns(const std::vector<std::int64_t>& ids) {
  std::vector<TeacherToken> out;
  for (const std::int64_t id : ids) {
    TeacherToken token{.bytes = {}, .id = id, .logprob = std::log(0.5)};
    token.top = {{{}, id, std::log(0.5)}, {{}, (id + 1) % 200, std::log(0.25)}};
    out.push_back(std::move(token));
  }
  return out;
}

DatasetOptions with_teacher() {
  DatasetOptions options;
  options.need = DataNeed::kTeacher;
  return options;
}

Json taught(std::vector<TeacherToken> tokens) {
  Json row = chat({{"user", "u"}, {"assistant", "yes, no"}});
  row["teacher"] = logprobs_json(tokens);
  return row;
}

}  // namespace

TEST_CASE("dataset: a teacher's columns are laid on the tokens that count") {
  const std::vector<std::int64_t> answer{257, ',', ' ', 258};
  Loaded all = load(line(taught(columns(answer))), with_teacher());
  Example example = all.data->example(0);
  REQUIRE(example.teacher.size() == 5);  // the end token's is empty
  CHECK(example.teacher[0].ids == std::vector<std::int32_t>{257, 58});
  CHECK(example.teacher[3].logprobs[1] == Approx(std::log(0.25)));
  CHECK(example.teacher[4].ids.empty());
  CHECK(all.data->report().teacher_targets == 4);
  // With the end token.
  all = load(line(taught(columns({257, ',', ' ', 258, test::kEnd}))), with_teacher());
  CHECK(all.data->example(0).teacher[4].ids.front() == test::kEnd);
  // Servers without ids: pieces by their bytes, unknown ones left to the tail.
  std::vector<TeacherToken> texts;
  for (const char* piece : {"yes", ",", " ", "no"}) {
    TeacherToken token{.bytes = piece, .id = -1, .logprob = std::log(0.5)};
    token.top = {{piece, -1, std::log(0.5)},
                 {" yes", -1, std::log(0.125)},
                 {"\xf0\x9f", -1, std::log(0.25)}};
    texts.push_back(token);
  }
  all = load(line(taught(texts)), with_teacher());
  CHECK(all.data->example(0).teacher[0].ids == std::vector<std::int32_t>{257, 259});
}

TEST_CASE("dataset: damaged columns of a teacher are refused by line") {
  Json row = taught(columns({257, ',', ' ', 258}));
  row["teacher"]["tpo"] = 1;
  CHECK_THAT(refusal(line(row), with_teacher()), Catch::Contains("unknown key 'tpo'"));
  auto tokens = columns({257, ',', ' ', 258});
  tokens[1].logprob = 0.5;
  CHECK_THAT(refusal(line(taught(tokens)), with_teacher()),
             Catch::Contains("rows.jsonl:1: teacher: 0.5 is no log probability"));
  row = taught(columns({257, ',', ' ', 258}));
  std::vector<std::int32_t> ids(8, 65);
  ids[1] = -1;
  row["teacher"]["top_ids"] =
      encode_base64({reinterpret_cast<const char*>(ids.data()), ids.size() * sizeof(ids[0])});
  CHECK_THAT(refusal(line(row), with_teacher()), Catch::Contains("a probability of no token"));
}

TEST_CASE("dataset: a turn of weight 0 keeps a teacher's words from the loss") {
  Json row = taught(columns({257, ',', ' ', 258}));
  row["messages"].insert(row["messages"].begin() + 1,
                         Json{{"role", "assistant"}, {"content", "no"}, {"weight", 0}});
  row["messages"].insert(row["messages"].begin() + 2, Json{{"role", "user"}, {"content", "v"}});
  const Loaded all = load(line(row), with_teacher());
  CHECK(counted(all, 0) == "yes, no<|im_end|>");
  REQUIRE(all.data->example(0).teacher.size() == 5);
  CHECK(all.data->example(0).teacher[0].ids.front() == 257);
}

TEST_CASE("dataset: log probabilities of another vocabulary are refused by line") {
  const auto message = [](const std::vector<TeacherToken>& tokens) {
    return refusal(line(taught(tokens)), with_teacher());
  };
  CHECK(message(columns({257, ',', ' ', 100})).find("the student reads 'no' there") !=
        std::string::npos);
  CHECK(message(columns({257, ','})).find("teacher: 2 tokens, the student has 5 there") !=
        std::string::npos);
  auto tokens = columns({257, ',', ' ', 258});
  tokens[2].top[1].id = 128000;
  CHECK(message(tokens).find("token 128000 among the best, the student has 303 tokens") !=
        std::string::npos);
  tokens = columns({257, ',', ' ', 258});
  tokens[0].top[1].logprob = std::log(0.75);
  CHECK(message(tokens).find("probabilities of one token sum to 1.25") != std::string::npos);
  Json row = taught(columns({257, ',', ' ', 258}));
  row["teacher"]["top_ids"] = "AAA=";
  CHECK(refusal(line(row), with_teacher()).find("damaged column top_ids") != std::string::npos);
  CHECK(refusal(line(chat({{"user", "u"}, {"assistant", "a"}})), with_teacher())
            .find("expected \"teacher\" for this loss") != std::string::npos);
}

TEST_CASE("dataset: scored texts may say nothing of their first token") {
  auto tokens = columns({'a', 'b', 'c'});
  tokens[0].top.clear();
  tokens[0].logprob = std::nan("");
  Json row{{"text", "abc"}, {"teacher", logprobs_json(tokens)}};
  const Loaded all = load(line(row), with_teacher());
  const Example example = all.data->example(0);
  CHECK(example.target == std::vector<std::uint8_t>{0, 1, 1, 1});
  REQUIRE(example.teacher.size() == 3);
  CHECK(example.teacher[0].ids.front() == 'b');
  CHECK(example.teacher[2].ids.empty());
}

TEST_CASE("dataset: the same rows, order and held-out prompts for any number of threads") {
  std::vector<Json> all;
  for (int i = 0; i < 3000; ++i)
    all.push_back(chat({{"user", "question " + std::to_string(i % 1000)},
                        {"assistant", std::string(static_cast<std::size_t>(i % 700), 'x') + "!"}}));
  DatasetOptions options;
  options.eval_fraction = 0.1;
  options.seed = 5;
  parallel::set_threads(1);
  const Loaded one = load(rows(all), options);
  parallel::set_threads(3);
  const Loaded three = load(rows(all), options);
  parallel::set_threads(0);
  CHECK(one.data->hash() == three.data->hash());
  CHECK(one.data->order(0) == three.data->order(0));
  CHECK(one.data->order(0) != one.data->order(1));
  // Every row once, in train or held out; no prompt on both sides.
  const auto train = one.data->train_rows(), held = one.data->eval_rows();
  CHECK(train.size() + held.size() == 3000);
  CHECK(held.size() > 150);
  CHECK(held.size() < 450);
  std::set<std::size_t> prompts;
  for (const std::size_t row : held) prompts.insert(row % 1000);
  CHECK(held.size() == 3 * prompts.size());
  auto order = one.data->order(7);
  std::sort(order.begin(), order.end());
  CHECK(order == std::vector<std::size_t>(train.begin(), train.end()));
}

TEST_CASE("dataset: several files are one dataset, an empty one is an error") {
  Loaded all;
  write_file(*all.folder / "a.jsonl", line({{"text", "one"}}));
  write_file(*all.folder / "b.jsonl", line({{"text", "two"}}) + line({{"text", "three"}}));
  write_file(*all.folder / "none.jsonl", "\n\n");
  const Dataset data = Dataset::load({*all.folder / "a.jsonl", *all.folder / "b.jsonl"},
                                     std::nullopt, all.tokenizer, {});
  CHECK(data.size() == 3);
  CHECK(data.example(2).line == 2);
  const auto error = error_of(
      [&] { (void)Dataset::load({*all.folder / "none.jsonl"}, std::nullopt, all.tokenizer, {}); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kInput);
  const auto chatless = error_of([&] {
    write_file(*all.folder / "c.jsonl", line(chat({{"user", "u"}, {"assistant", "a"}})));
    (void)Dataset::load({*all.folder / "c.jsonl"}, std::nullopt, all.tokenizer, {});
  });
  REQUIRE(chatless);
  CHECK(chatless->kind() == ErrorKind::kMismatch);
}
