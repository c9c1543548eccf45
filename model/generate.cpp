#include "model/generate.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/log.h"
#include "core/seconds.h"
#include "core/text.h"
#include "model/growing_text.h"
#include "model/intraop.h"
#include "model/lookup.h"
#include "model/rowwise.h"
#include "model/sampling.h"
#include "model/session.h"
#include "model/vocabulary.h"

namespace lancet {
namespace {

constexpr std::size_t kBatch = 32;  ///< prompts that share a cache

/// One prompt on its way.
struct Sequence {
  std::size_t index;
  std::int64_t max_tokens;
  Sampler sampler;
  GrowingText text;
  std::vector<std::int32_t> prompt;
  Generation out;
  TokenLogprob logprob;  ///< of the token just sampled, where asked for

  [[nodiscard]] std::int32_t sample(std::span<float> logits, std::int64_t logprobs) {
    if (logprobs < 0) return sampler.next(logits);
    const std::vector<float> own(logits.begin(), logits.end());
    const std::int32_t id = sampler.next(logits);
    logprob = token_logprob(own, id, logprobs);
    return id;
  }
};

/// Settings shared by the sequences of one call.
struct Run {
  const SamplingOptions& options;
  std::vector<std::int32_t> end_ids;
  const TextSink& sink;
  std::int64_t positions;  ///< of the model
  bool looks_up;
  bool ends;  ///< behind the last position nothing can be read, not even by a row that has ended

  void emit(Sequence& sequence, bool all) const {
    const std::string text = sequence.text.take(all);
    if (sink && !text.empty()) sink(sequence.index, text);
  }

  /// Takes the sampled token; true while the sequence goes on.
  [[nodiscard]] bool step(Sequence& sequence, std::int32_t id) const {
    Generation& out = sequence.out;
    const bool ended = std::ranges::find(end_ids, id) != end_ids.end();
    bool stopped = ended;
    if (!ended) {
      out.ids.push_back(id);
      if (options.logprobs >= 0) out.logprobs.push_back(std::move(sequence.logprob));
      sequence.sampler.see(id);
      stopped = sequence.text.push(id);
    }
    const bool full = std::cmp_greater_equal(out.ids.size(), sequence.max_tokens);
    if (!stopped && !full) {
      emit(sequence, false);
      return true;
    }
    if (!stopped || ended) stopped = sequence.text.finish() || stopped;
    emit(sequence, true);
    out.finish_reason = stopped ? "stop" : "length";
    out.text = sequence.text.text();
    out.tokens = static_cast<std::int64_t>(out.ids.size());
    return false;
  }
};

/// Called with the tokens that a session has just taken.
using Fed = std::function<void(const std::vector<std::int32_t>&)>;

std::span<float> row_of(const Session& session, std::int64_t row) {
  const std::int64_t vocab = session.logits().size(1);
  return {session.logits().mutable_data_ptr<float>() + row * vocab,
          static_cast<std::size_t>(vocab)};
}

/// The only sequence until it has ended, with guesses read along. Each token is sampled from what
/// the model says behind all that was really said, as without guesses.
void run_alone(Session& session, const Run& run, Sequence& sequence, const Fed& fed) {
  Lookup lookup(sequence.prompt);
  for (const std::int32_t id : sequence.out.ids) lookup.see(id);
  const auto say = [&](std::int64_t row) -> std::optional<std::int32_t> {
    const std::int32_t id = sequence.sample(row_of(session, row), run.options.logprobs);
    if (!run.step(sequence, id)) return std::nullopt;
    lookup.see(id);
    return id;
  };
  auto next = say(0);
  while (next) {
    const std::int64_t left = sequence.max_tokens - std::ssize(sequence.out.ids);
    std::vector<std::int32_t> ids{*next};
    const auto guessed = lookup.guess(std::min(left, run.positions - session.length()) - 1);
    ids.insert(ids.end(), guessed.begin(), guessed.end());
    const std::int64_t before = session.length();
    session.feed_ahead(ids);
    ++sequence.out.passes;
    std::size_t right = 0;
    while (true) {
      if (fed) fed({ids[right]});
      next = say(static_cast<std::int64_t>(right));
      if (!next || right == guessed.size() || *next != guessed[right]) break;
      ++right;
    }
    if (guessed.empty()) continue;
    lookup.learn(guessed.size(), right);
    session.truncate(before + 1 + static_cast<std::int64_t>(right));
  }
}

/// Until every sequence has ended; `session` has read their prompts.
void run_batch(Session& session, const Run& run, std::span<Sequence> sequences,
               const Fed& fed = {}) {
  std::vector<Sequence*> active;
  for (Sequence& sequence : sequences) active.push_back(&sequence);
  std::vector<std::int32_t> next(active.size());
  while (true) {
    if (active.size() == 1 && run.looks_up) return run_alone(session, run, *active[0], fed);
    std::vector<std::int64_t> going;
    intraop_for(std::ssize(active), [&](std::int64_t row) {
      const auto i = static_cast<std::size_t>(row);
      if (active[i] != nullptr)
        next[i] = active[i]->sample(row_of(session, row), run.options.logprobs);
    });
    for (std::size_t row = 0; row < active.size(); ++row) {
      if (active[row] == nullptr) continue;
      if (run.step(*active[row], next[row])) {
        going.push_back(static_cast<std::int64_t>(row));
      } else {
        active[row] = nullptr;
      }
    }
    if (going.empty()) return;
    if (going.size() * 2 <= active.size() || (run.ends && going.size() < active.size())) {
      session.keep(going);
      for (std::size_t i = 0; i < going.size(); ++i) {
        active[i] = active[static_cast<std::size_t>(going[i])];
        next[i] = next[static_cast<std::size_t>(going[i])];
      }
      active.resize(going.size());
      next.resize(going.size());
    }
    session.feed(next);
    for (Sequence* const each : active) {
      if (each != nullptr) ++each->out.passes;
    }
    if (fed) fed(next);
  }
}

void name_tokens(TokenLogprob& token, const Tokenizer& tokenizer) {
  token.said.text = tokenizer.decode({token.said.id}, false);
  for (LikelyToken& each : token.top) each.text = tokenizer.decode({each.id}, false);
}

/// Whether a position beyond the last has no vector: no text goes on behind it.
bool learns_positions(const Decoder& model) { return !model.spec().names.positions.empty(); }

/// A prompt that the model cannot read, before any is.
void check_prompt(const Decoder& model, const Prompt& prompt,
                  const std::vector<std::int32_t>& ids) {
  const auto refuse = [&](const std::string& message) {
    fail(ErrorKind::kInput, "generate",
         message + (prompt.id.empty() ? "" : " (prompt '" + printable(prompt.id) + "')"));
  };
  if (ids.empty()) refuse("expected a prompt of at least one token, found none");
  const std::int64_t vocab = model.spec().vocab, most = model.spec().max_positions;
  for (const std::int32_t id : ids) {
    if (id >= vocab)
      refuse("expected token ids below " + std::to_string(vocab) +
             ", the size of the vocabulary, found " + std::to_string(id));
  }
  if (learns_positions(model) && std::ssize(ids) > most)
    refuse("expected a prompt of at most " + std::to_string(most) +
           " tokens, the learned positions of this model, found " + std::to_string(ids.size()));
}

void warn_length(const Decoder& model, std::int64_t prompt_tokens, std::int64_t max_tokens) {
  const std::int64_t trained = model.spec().max_positions;
  if (prompt_tokens + max_tokens > trained) {
    log::warn("generate: " + std::to_string(prompt_tokens) + " prompt tokens and up to " +
              std::to_string(max_tokens) + " new ones go beyond the model's " +
              std::to_string(trained) + " positions");
  }
}

std::vector<std::int32_t> ids_of(const Tokenizer& tokenizer, const Prompt& prompt) {
  return prompt.ids.empty() ? tokenizer.encode(prompt.text, prompt.special).ids : prompt.ids;
}

/// Tokens that a text may have: what is asked for, and where positions are learned no more than the
/// last of them says.
std::int64_t room_of(const Decoder& model, const Prompt& prompt, std::int64_t prompt_tokens,
                     const SamplingOptions& options) {
  std::int64_t most = options.max_tokens;
  if (prompt.max_tokens > 0) most = std::min(most, prompt.max_tokens);
  if (learns_positions(model))
    most = std::min(most, model.spec().max_positions - prompt_tokens + 1);
  return most;
}

Sequence make_sequence(const Decoder& model, const Tokenizer& tokenizer, const Prompt& prompt,
                       const std::vector<std::int32_t>& ids, const SamplingOptions& options,
                       std::uint64_t seed, std::size_t index) {
  check_prompt(model, prompt, ids);
  Sequence sequence{index,
                    room_of(model, prompt, std::ssize(ids), options),
                    Sampler(options, seed, static_cast<std::uint32_t>(index)),
                    GrowingText(tokenizer, options.stop),
                    ids,
                    {},
                    {}};
  sequence.out.prompt_tokens = sequence.out.read_tokens = std::ssize(ids);
  for (const std::int32_t id : ids) sequence.sampler.see(id);
  return sequence;
}

Run make_run(const Decoder& model, const Tokenizer& tokenizer, const SamplingOptions& options,
             const TextSink& sink) {
  Run run{options,
          options.end_ids,
          sink,
          model.spec().max_positions,
          options.lookup && feeds_ahead(model),
          learns_positions(model)};
  if (run.end_ids.empty() && tokenizer.eos()) run.end_ids.push_back(*tokenizer.eos());
  return run;
}

/// The model that says only what `options` allow.
Decoder restricted(const Decoder& whole, const SamplingOptions& options) {
  const auto unsaid = unsaid_ids(whole.spec(), options);
  return unsaid == whole.spec().masked_ids ? whole : whole.with_masked_ids(unsaid);
}

void set_speed(Generation& out, const Timer& timer) {
  out.tokens_per_second = static_cast<double>(out.tokens) / timer.seconds();
}

}  // namespace

std::vector<Generation> generate(const Decoder& whole, const Tokenizer& tokenizer,
                                 const std::vector<Prompt>& prompts, const SamplingOptions& options,
                                 std::uint64_t seed, const TextSink& sink) {
  check_sampling(options);
  const Decoder model = restricted(whole, options);
  const Run run = make_run(model, tokenizer, options, sink);
  std::vector<Sequence> sequences;
  std::vector<std::vector<std::int32_t>> ids;
  std::size_t longest = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    ids.push_back(ids_of(tokenizer, prompts[i]));
    longest = std::max(longest, ids[i].size());
    sequences.push_back(make_sequence(model, tokenizer, prompts[i], ids[i], options, seed, i));
  }
  warn_length(model, static_cast<std::int64_t>(longest), options.max_tokens);
  for (std::size_t first = 0; first < prompts.size(); first += kBatch) {
    const std::size_t count = std::min(kBatch, prompts.size() - first);
    const Timer timer;
    Session session(model,
                    {ids.begin() + static_cast<std::ptrdiff_t>(first),
                     ids.begin() + static_cast<std::ptrdiff_t>(first + count)},
                    options.max_tokens);
    const auto batch = std::span(sequences).subspan(first, count);
    run_batch(session, run, batch);
    for (Sequence& sequence : batch) set_speed(sequence.out, timer);
  }
  std::vector<Generation> out;
  for (Sequence& sequence : sequences) {
    for (TokenLogprob& token : sequence.out.logprobs) name_tokens(token, tokenizer);
    out.push_back(std::move(sequence.out));
  }
  return out;
}

/// What a conversation keeps. `session` borrows `model`.
struct Conversation::State {
  Decoder model;
  std::optional<Session> session;
  std::vector<std::int32_t> read;  ///< tokens in the session's cache

  /// How many tokens of `ids` the cache may keep: at least one has to be read for its logits, a
  /// state space goes back to no token but the first, and RoPE may turn keys of a text of another
  /// length otherwise.
  [[nodiscard]] std::size_t shared(const std::vector<std::int32_t>& ids) const {
    const auto [own, other] = std::ranges::mismatch(read, ids);
    const auto same = std::min(static_cast<std::size_t>(own - read.begin()), ids.size() - 1);
    const bool states =
        std::ranges::any_of(model.spec().layer, [](const LayerSpec& each) { return each.ssm; });
    return (states && same < read.size()) || !session->keys_fit(std::ssize(ids)) ? 0 : same;
  }

  /// Reads what is new; returns how many tokens that were.
  std::int64_t read_on(const std::vector<std::int32_t>& ids, std::int64_t room) {
    using Rows = std::vector<std::vector<std::int32_t>>;
    const std::size_t same = session && !ids.empty() ? shared(ids) : 0;
    read.clear();  // until all is well: an interrupted pass leaves some of it
    if (same == 0) {
      session.reset();
      session.emplace(model, Rows{ids}, room);
    } else {
      session->truncate(static_cast<std::int64_t>(same));
      const std::vector<std::int32_t> more(ids.begin() + static_cast<std::ptrdiff_t>(same),
                                           ids.end());
      session->read(Rows{more});
    }
    read = ids;
    return std::ssize(ids) - static_cast<std::int64_t>(same);
  }
};

Conversation::Conversation(const Decoder& model, const SamplingOptions& options)
    : options_(options), state_(new State{restricted(model, options), {}, {}}) {
  check_sampling(options);
}
Conversation::~Conversation() = default;
Conversation::Conversation(Conversation&&) noexcept = default;
Conversation& Conversation::operator=(Conversation&&) noexcept = default;

Generation Conversation::answer(const Tokenizer& tokenizer, const Prompt& prompt,
                                std::uint64_t seed, const TextSink& sink) {
  const std::vector<std::int32_t> ids = ids_of(tokenizer, prompt);
  warn_length(state_->model, std::ssize(ids), options_.max_tokens);
  const Timer timer;
  const Run run = make_run(state_->model, tokenizer, options_, sink);
  Sequence sequence = make_sequence(state_->model, tokenizer, prompt, ids, options_, seed, 0);
  sequence.out.read_tokens = state_->read_on(ids, options_.max_tokens);
  run_batch(*state_->session, run, {&sequence, 1},
            [&](const std::vector<std::int32_t>& next) { state_->read.push_back(next[0]); });
  set_speed(sequence.out, timer);
  for (TokenLogprob& token : sequence.out.logprobs) name_tokens(token, tokenizer);
  return std::move(sequence.out);
}

std::vector<std::vector<std::int32_t>> generate_greedy(
    const Decoder& model, const std::vector<std::vector<std::int32_t>>& prompts,
    std::int64_t count) {
  std::vector<std::vector<std::int32_t>> out(prompts.size());
  if (prompts.empty() || count <= 0) return out;
  Session session(model, prompts, count);
  for (std::int64_t step = 0; step < count; ++step) {
    std::vector<std::int32_t> next;
    const std::int64_t vocab = session.logits().size(1);
    const auto* logits = session.logits().const_data_ptr<float>();
    for (std::size_t row = 0; row < prompts.size(); ++row) {
      next.push_back(static_cast<std::int32_t>(
          rowwise::arg_max(logits + static_cast<std::int64_t>(row) * vocab, vocab)));
      out[row].push_back(next.back());
    }
    if (step + 1 < count) session.feed(next);
  }
  return out;
}

}  // namespace lancet
