#pragma once
// What a data recipe sees while it works on one seed.
//
// `ask` returns the answer when it is there; else it ends this run of the recipe, and the recipe is
// run again from its first line once the answer has come. The journal therefore is the only state:
// after a kill the same lines ask the same questions and find their answers.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/rng.h"
#include "distill/prompts.h"
#include "distill/recipe.h"
#include "distill/teacher/answer.h"
#include "distill/teacher/request.h"

namespace lancet {

/// One question. Sampling is the job's unless `settings` says otherwise.
struct Ask {
  Json messages;                   ///< chat: [{"role","content"}...]
  std::string prompt;              ///< raw text to be continued, where `messages` is null
  Json settings = Json::object();  ///< fields of the body that differ from the job's
  bool judge = false;     ///< temperature 0 and no log probabilities, whatever the job says
  bool may_fail = false;  ///< a typed failure is returned; else it drops the seed with its name
};

/// [{"role":"user","content":text}], with a system message first unless it is empty.
[[nodiscard]] Json chat(std::string_view text, std::string_view system = "");
/// `messages` and one more.
[[nodiscard]] Json with(Json messages, std::string_view role, std::string_view content);

/// One seed on its way.
struct SeedItem {
  Json seed;
  std::string key;    ///< of its content, the recipe and the sample: names its random values
  std::string label;  ///< "prompts.jsonl:3", for messages and provenance
  std::uint32_t sample = 0;
};

/// What all seeds of a job share.
struct TurnContext {
  const DataRecipe& recipe;
  const DataOptions& options;
  const PromptLibrary& prompts;
  Json body;              ///< sampling, log probabilities and extra fields, sent with every request
  bool send_seed = true;  ///< each request carries a seed of its own, from `seed`
  std::uint64_t seed = 0;
  Json completions = Json::object();  ///< further fields of raw continuations without echo
};

class Turn {
 public:
  Turn(const TurnContext& context, const SeedItem& item);

  // For recipes.
  [[nodiscard]] const Json& seed() const noexcept { return item_.seed; }
  /// A member of the seed that must be a non-empty string (kInput).
  [[nodiscard]] std::string text(std::string_view key) const;
  [[nodiscard]] std::string text(std::string_view key, std::string fallback) const;
  [[nodiscard]] double number(std::string_view name) const;
  [[nodiscard]] std::uint32_t count(std::string_view name) const;
  [[nodiscard]] bool flag(std::string_view name) const;
  [[nodiscard]] const std::string& word(std::string_view name) const;
  [[nodiscard]] std::string prompt(const std::string& name, PromptValues values) const;
  /// Random values of this seed for a purpose, the same in every run.
  [[nodiscard]] Random random(std::string_view purpose) const;
  const TeacherAnswer& ask(Ask question);
  /// All at once; answers in the order of the questions.
  std::vector<const TeacherAnswer*> ask_all(std::vector<Ask> questions);
  /// Runs a program in the sandbox ("python", "cpp", "sh"): text is "ok" or how it failed, message
  /// what it wrote.
  const TeacherAnswer& execute(std::string_view language, const std::string& program);
  /// A row's "teacher"; drops where logprobs_problem() finds one (an old journal's).
  [[nodiscard]] Json columns(const std::vector<TeacherToken>& tokens) const;
  /// A finished row. `answer`, where given, is what the row's last assistant words are: its log
  /// probabilities go with it. Drops where these are of another text.
  void emit(Json row, const TeacherAnswer* answer = nullptr);
  /// No row from this seed, counted under `reason`.
  [[noreturn]] void drop(std::string_view reason) const;

  // For who runs them.
  enum class State { kWaiting, kDone };
  /// Runs the recipe as far as the answers reach. kWaiting: take_questions() are new.
  State run();
  [[nodiscard]] std::vector<TeacherRequest> take_questions();
  /// Questions taken so far.
  [[nodiscard]] std::size_t asked() const noexcept { return told_; }
  /// Answers come by the number of their question, counted over all take_questions().
  void answer(std::size_t number, TeacherAnswer answer);
  [[nodiscard]] bool has_all() const noexcept { return missing_ == 0; }
  [[nodiscard]] std::vector<Json> take_rows() { return std::move(rows_); }
  [[nodiscard]] const std::string& dropped() const noexcept { return dropped_; }
  [[nodiscard]] const std::string& label() const noexcept { return item_.label; }

 private:
  struct Slot {
    TeacherRequest request;
    TeacherAnswer answer;
    bool answered = false;
  };
  const TurnContext& context_;
  SeedItem item_;
  std::vector<Slot> slots_;
  std::size_t cursor_ = 0, missing_ = 0, told_ = 0;
  std::vector<Json> rows_;
  std::string dropped_;

  [[nodiscard]] TeacherRequest request_of(const Ask& question, std::size_t number) const;
  std::size_t place(TeacherRequest request);
  [[nodiscard]] Json provenance(const TeacherAnswer* answer) const;
};

}  // namespace lancet
