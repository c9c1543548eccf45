#pragma once
// What the command line asks of the engine to run a model. No LibTorch here: cli/ fills these in
// before the engine is opened.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace lancet {

/// Common options of every command that runs a model.
struct RuntimeOptions {
  int threads = 0;                   ///< 0 = all
  std::string device = "auto";       ///< auto, cpu, cuda, cuda:N
  std::string dtype = "auto";        ///< auto (float32), float32, bfloat16
  std::string offload = "none";      ///< none, or disk: matrices stay in the model's files
  std::string activations = "auto";  ///< auto (exact on the CPU), float32, bfloat16
  std::uint64_t seed = 0;
};

struct ForwardRequest {
  fs::path model;
  std::vector<std::int64_t> ids;  ///< one sequence, or
  std::optional<fs::path>
      ids_file;  ///< safetensors with an integer tensor "ids" [batch, tokens], or
  std::optional<std::string> prompt;
  fs::path out;
  bool hidden = false;
  bool force = false;
};

struct SamplingOptions {
  std::int64_t max_tokens = 256;
  double temperature = 0;  ///< 0 = greedy
  std::int64_t top_k = 0;  ///< 0 = off
  double top_p = 1;
  double min_p = 0;
  double repetition_penalty = 1;
  std::vector<std::string> stop;
  std::vector<std::int32_t> end_ids;  ///< tokens that end a text; empty = the tokenizer's end token
  /// Ids [first, last) of which texts are made; empty = all. The end token is one like any other.
  std::vector<std::pair<std::int64_t, std::int64_t>> allowed_ids;
  /// Of a model of text and images: text (what the model itself says in a text), image (tokens of
  /// images only) or any.
  std::string modality = "text";
  std::int64_t logprobs = -1;  ///< of each token, beside so many of the likeliest; -1 = none
  /// A single text on the CPU: read what followed the same tokens before along with the next one,
  /// and keep what the model says, too. The same text, sooner.
  bool lookup = true;
};

struct Prompt {
  std::string id;
  std::string text;     ///< rendered prompt
  bool special = true;  ///< let the tokenizer add its own special tokens (false after a template)
  std::int64_t max_tokens = 0;    ///< 0 = as the options say; never more than that
  std::vector<std::int32_t> ids;  ///< tokens in place of the text
};

struct GenerateRequest {
  fs::path model;
  std::vector<Prompt> prompts;
  SamplingOptions sampling;
  /// One prompt, which likely begins with the last one and its answer: what was computed for them
  /// is kept, and only what is new is read.
  bool converse = false;
};

/// By the model's own distribution: before penalty, temperature and cuts, without what it may not
/// say. Nats.
struct LikelyToken {
  std::int32_t id = 0;
  std::string text;
  double logprob = 0;
};
/// A token that was said, and the likeliest at its place by falling probability, ties by id.
struct TokenLogprob {
  LikelyToken said;
  std::vector<LikelyToken> top;
};

struct Generation {
  std::string text;                    ///< ends before a stop string
  std::vector<std::int32_t> ids;       ///< without the end token
  std::vector<TokenLogprob> logprobs;  ///< of each id, where asked for
  std::string finish_reason;           ///< "stop", "length"
  std::int64_t prompt_tokens = 0, tokens = 0;
  std::int64_t read_tokens = 0;  ///< of the prompt that were run: fewer in a conversation
  std::int64_t passes = 0;       ///< of the model behind the prompt: fewer than tokens by lookup
  double tokens_per_second = 0;
};

struct ScoreRequest {
  fs::path model;
  std::vector<std::string> texts;  ///< each scored on its own
  std::int64_t window = 0;         ///< 0 = min(model's maximum, 2048)
  std::int64_t stride = 0;         ///< 0 = window
  bool per_token = false;
};

struct TokenScore {
  std::int32_t id = 0;
  std::string text;
  double logprob = 0;
  std::int64_t rank = 0;  ///< 1 = arg max
};

struct ScoreResult {
  std::int64_t tokens = 0;  ///< predicted tokens
  double nll = 0;           ///< mean negative log likelihood, nats per token
  double perplexity = 0;
  double tokens_per_second = 0;
  std::vector<TokenScore> per_token;
};

/// Negative log likelihood of one text in nats, and the tokens that it sums (0 for a text of one).
struct TextScore {
  double nll = 0;
  std::int64_t tokens = 0;
};

/// Receives text as it is generated: (prompt index, new text).
using TextSink = std::function<void(std::size_t, const std::string&)>;

}  // namespace lancet
