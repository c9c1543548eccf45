#include "model/generate.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>

#include "core/error.h"
#include "core/log.h"
#include "model/intraop.h"
#include "model/rowwise.h"
#include "model/sampling.h"
#include "model/session.h"
#include "model/vocabulary.h"

namespace lancet {
namespace {

constexpr std::size_t kBatch = 32;  ///< prompts that share a cache

/// Text of one sequence as it grows: what is certain goes to the sink, stop strings never do.
class GrowingText {
 public:
  GrowingText(const Tokenizer& tokenizer, const std::vector<std::string>& stop)
      : decoder_(tokenizer), stop_(stop) {}

  /// True when a stop string has been completed; the text then ends before it.
  [[nodiscard]] bool push(std::int32_t id) { return add(decoder_.push(id)); }
  [[nodiscard]] bool finish() { return add(decoder_.finish()); }

  /// Text that can no longer become part of a stop string and was not taken before.
  [[nodiscard]] std::string take(bool all) {
    const std::size_t end = all ? text_.size() : text_.size() - held();
    std::string out = text_.substr(taken_, end - taken_);
    taken_ = end;
    return out;
  }

  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  bool add(const std::string& piece) {
    const std::size_t old = text_.size();
    text_ += piece;
    std::size_t cut = std::string::npos;
    for (const std::string& stop : stop_) {
      cut = std::min(cut, text_.find(stop, old - std::min(old, stop.size() - 1)));
    }
    if (cut == std::string::npos) return false;
    text_.resize(std::max(cut, taken_));
    return true;
  }

  /// Length of the longest end of the text that begins a stop string.
  [[nodiscard]] std::size_t held() const {
    std::size_t most = 0;
    for (const std::string& stop : stop_) {
      for (std::size_t n = std::min(stop.size() - 1, text_.size() - taken_); n > most; --n) {
        if (text_.ends_with(std::string_view(stop).substr(0, n))) most = n;
      }
    }
    return most;
  }

  StreamDecoder decoder_;
  const std::vector<std::string>& stop_;
  std::string text_;
  std::size_t taken_ = 0;
};

/// One prompt on its way.
struct Sequence {
  std::size_t index;
  std::int64_t max_tokens;
  Sampler sampler;
  GrowingText text;
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

void run_batch(const Decoder& model, const Run& run, std::span<Sequence> sequences,
               const std::vector<std::vector<std::int32_t>>& prompts) {
  Session session(model, prompts, run.options.max_tokens);
  std::vector<Sequence*> active;
  for (Sequence& sequence : sequences) active.push_back(&sequence);
  std::vector<std::int32_t> next(active.size());
  while (true) {
    std::vector<std::int64_t> going;
    const std::int64_t vocab = session.logits().size(1);
    auto* logits = session.logits().mutable_data_ptr<float>();
    intraop_for(std::ssize(active), [&](std::int64_t row) {
      const auto i = static_cast<std::size_t>(row);
      if (active[i] != nullptr)
        next[i] = active[i]->sample({logits + row * vocab, static_cast<std::size_t>(vocab)},
                                    run.options.logprobs);
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
    if (going.size() * 2 <= active.size()) {
      session.keep(going);
      for (std::size_t i = 0; i < going.size(); ++i) {
        active[i] = active[static_cast<std::size_t>(going[i])];
        next[i] = next[static_cast<std::size_t>(going[i])];
      }
      active.resize(going.size());
      next.resize(going.size());
    }
    session.feed(next);
  }
}

void name_tokens(TokenLogprob& token, const Tokenizer& tokenizer) {
  token.said.text = tokenizer.decode({token.said.id}, false);
  for (LikelyToken& each : token.top) each.text = tokenizer.decode({each.id}, false);
}

void warn_length(const Decoder& model, std::int64_t prompt_tokens, std::int64_t max_tokens) {
  const std::int64_t trained = model.spec().max_positions;
  if (prompt_tokens + max_tokens > trained) {
    log::warn("generate: " + std::to_string(prompt_tokens) + " prompt tokens and up to " +
              std::to_string(max_tokens) + " new ones go beyond the model's " +
              std::to_string(trained) + " positions");
  }
}

}  // namespace

std::vector<Generation> generate(const Decoder& whole, const Tokenizer& tokenizer,
                                 const std::vector<Prompt>& prompts, const SamplingOptions& options,
                                 std::uint64_t seed, const TextSink& sink) {
  check_sampling(options);
  const auto unsaid = unsaid_ids(whole.spec(), options);
  const Decoder model = unsaid == whole.spec().masked_ids ? whole : whole.with_masked_ids(unsaid);
  Run run{options, options.end_ids, sink};
  if (run.end_ids.empty() && tokenizer.eos()) run.end_ids.push_back(*tokenizer.eos());
  std::vector<Sequence> sequences;
  std::vector<std::vector<std::int32_t>> ids;
  std::size_t longest = 0;
  for (std::size_t i = 0; i < prompts.size(); ++i) {
    ids.push_back(prompts[i].ids.empty() ? tokenizer.encode(prompts[i].text, prompts[i].special).ids
                                         : prompts[i].ids);
    longest = std::max(longest, ids[i].size());
    const std::int64_t own = prompts[i].max_tokens;
    sequences.push_back({i,
                         own > 0 ? std::min(own, options.max_tokens) : options.max_tokens,
                         Sampler(options, seed, static_cast<std::uint32_t>(i)),
                         GrowingText(tokenizer, options.stop),
                         {},
                         {}});
    sequences[i].out.prompt_tokens = static_cast<std::int64_t>(ids[i].size());
    for (const std::int32_t id : ids[i]) sequences[i].sampler.see(id);
  }
  warn_length(model, static_cast<std::int64_t>(longest), options.max_tokens);
  for (std::size_t first = 0; first < prompts.size(); first += kBatch) {
    const std::size_t count = std::min(kBatch, prompts.size() - first);
    const auto begin = std::chrono::steady_clock::now();
    run_batch(model, run, std::span(sequences).subspan(first, count),
              {ids.begin() + static_cast<std::ptrdiff_t>(first),
               ids.begin() + static_cast<std::ptrdiff_t>(first + count)});
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    for (std::size_t i = first; i < first + count; ++i) {
      sequences[i].out.tokens_per_second =
          static_cast<double>(sequences[i].out.tokens) / seconds.count();
    }
  }
  std::vector<Generation> out;
  for (Sequence& sequence : sequences) {
    for (TokenLogprob& token : sequence.out.logprobs) name_tokens(token, tokenizer);
    out.push_back(std::move(sequence.out));
  }
  return out;
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
