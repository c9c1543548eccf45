#include "distill/train/encode.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/error.h"
#include "core/hash.h"

namespace lancet {
namespace {

using Span = std::pair<std::uint64_t, std::uint64_t>;

/// First 64 bits of the SHA-256.
std::uint64_t hash_of(std::string_view text) {
  return std::stoull(sha256_hex(text).substr(0, 16), nullptr, 16);
}

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

}  // namespace

struct RowEncoder::Tokens {
  std::vector<std::int32_t> ids;
  std::vector<std::uint8_t> target;
  std::vector<bool> masked;  ///< spoken, and not to be learnt; empty: none
  std::size_t taught = 0;    ///< first position that a teacher may have spoken of
};

RowEncoder::RowEncoder(const Tokenizer& tokenizer, std::optional<ChatFormat> format,
                       const DatasetOptions& options, std::int64_t now)
    : tokenizer_(tokenizer), format_(std::move(format)), options_(options), now_(now) {}

const PieceTable& RowEncoder::pieces() const {
  std::call_once(once_, [this] { pieces_.emplace(tokenizer_); });
  return *pieces_;
}

EncodedRow RowEncoder::encode(const TrainingRow& row) const {
  EncodedRow out;
  out.prompt_hash = hash_of(row.prompt);
  Tokens tokens = encode_text(row.text, row.kind);
  Example taught;
  if (!row.teacher.empty() && options_.need == DataNeed::kTeacher) add_teacher(row, tokens, taught);
  out.chosen = finish(std::move(tokens), out.truncated);
  out.chosen.teacher = std::move(taught.teacher);
  if (!out.chosen.teacher.empty()) {
    const auto counted =
        static_cast<std::size_t>(std::count(out.chosen.target.begin(), out.chosen.target.end(), 1));
    out.chosen.teacher.resize(std::min(out.chosen.teacher.size(), counted));
  }
  if (row.kind == RowKind::kPreference)
    out.rejected = finish(encode_text(row.rejected, row.kind), out.truncated);
  return out;
}

RowEncoder::Tokens RowEncoder::encode_text(const TrainingText& text, RowKind kind) const {
  if (!text.conversation.is_null()) return encode_chat(text);
  return encode_plain(text, kind == RowKind::kText);
}

RowEncoder::Tokens RowEncoder::encode_chat(const TrainingText& text) const {
  if (!format_)
    fail(ErrorKind::kMismatch, "train",
         "the rows are conversations, and the model has no chat template",
         "train on prompt and completion, or start from a model that has one");
  Rendered rendered;
  try {
    rendered = format_->render_turns(text.conversation, now_);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
    throw RowProblem{"template", error.message()};
  }
  if (!text.masked.empty() && text.masked.size() != rendered.spans.size())
    throw RowProblem{"template",
                     fmt::format("weights of {} assistant's messages, the template marks {} turns",
                                 text.masked.size(), rendered.spans.size())};
  const Encoding encoded = tokenizer_.encode(rendered.text, false);
  Tokens out{.ids = encoded.ids,
             .target = std::vector<std::uint8_t>(encoded.ids.size(), 0),
             .masked = std::vector<bool>(text.masked.empty() ? 0 : encoded.ids.size(), false)};
  std::size_t first = 0, turn = 0;
  for (const Span& span : rendered.spans) {
    while (first < encoded.ids.size() && encoded.offsets[first].second <= span.first) ++first;
    std::size_t end = first;
    while (end < encoded.ids.size() && encoded.offsets[end].first < span.second) ++end;
    // The turn ends with its end token; what a template writes behind it is the next one's.
    std::size_t stop = end;
    while (stop > first && !tokenizer_.is_special(encoded.ids[stop - 1])) --stop;
    const std::size_t tail = stop > first ? encoded.offsets[stop - 1].second : span.first;
    const bool ends =
        stop > first && is_blank(std::string_view(rendered.text).substr(tail, span.second - tail));
    if (ends) {
      end = stop;
    } else if (end < encoded.ids.size() && tokenizer_.is_special(encoded.ids[end])) {
      ++end;  // the span stops at the content
    }
    std::fill(out.target.begin() + static_cast<std::ptrdiff_t>(first),
              out.target.begin() + static_cast<std::ptrdiff_t>(end), 1);
    if (!text.masked.empty() && text.masked[turn++])
      std::fill(out.masked.begin() + static_cast<std::ptrdiff_t>(first),
                out.masked.begin() + static_cast<std::ptrdiff_t>(end), true);
    out.taught = first;
    first = end;
  }
  if (!out.target.empty()) out.target[0] = 0;
  return out;
}

RowEncoder::Tokens RowEncoder::encode_plain(const TrainingText& text, bool whole) const {
  const Encoding encoded = tokenizer_.encode(text.prompt + text.completion, true);
  Tokens out{.ids = encoded.ids, .target = std::vector<std::uint8_t>(encoded.ids.size(), 0)};
  const std::size_t boundary = text.prompt.size();
  out.taught = encoded.ids.size();
  for (std::size_t t = 0; t < encoded.ids.size(); ++t) {
    const auto [begin, end] = encoded.offsets[t];
    if (begin == end || end <= boundary) continue;  // added by the tokenizer, or of the prompt
    out.target[t] = 1;
    out.taught = std::min(out.taught, t);
  }
  if (whole) out.taught = 0;
  if (const auto eos = tokenizer_.eos(); eos && (out.ids.empty() || out.ids.back() != *eos)) {
    out.ids.push_back(*eos);
    out.target.push_back(1);
  }
  if (!out.target.empty()) out.target[0] = 0;
  return out;
}

void RowEncoder::add_teacher(const TrainingRow& row, const Tokens& tokens, Example& out) const {
  const std::vector<TeacherToken> teacher = read_teacher(row.teacher);
  // Positions from the last turn's first token to its last.
  std::size_t end = tokens.taught;
  while (end < tokens.ids.size() && (tokens.target[end] != 0 || end == 0)) ++end;
  const std::vector<TopK> found = align_teacher(teacher,
                                                {.ids = tokens.ids,
                                                 .begin = tokens.taught,
                                                 .end = end,
                                                 .whole_text = row.kind == RowKind::kText},
                                                tokenizer_, pieces());
  for (std::size_t t = 0; t < tokens.ids.size(); ++t) {
    if (tokens.target[t] == 0 || (!tokens.masked.empty() && tokens.masked[t])) continue;
    const bool spoken = t >= tokens.taught && t < end;
    out.teacher.push_back(spoken ? found[t - tokens.taught] : TopK{});
  }
}

Example RowEncoder::finish(Tokens tokens, bool& truncated) const {
  for (std::size_t t = 0; t < tokens.masked.size(); ++t) {
    if (tokens.masked[t]) tokens.target[t] = 0;
  }
  const auto limit = static_cast<std::size_t>(options_.max_length);
  if (tokens.ids.size() > limit) {
    if (options_.overlong != Overlong::kTruncate)
      throw RowProblem{"overlong", fmt::format("{} tokens, at most {}", tokens.ids.size(), limit)};
    tokens.ids.resize(limit);
    tokens.target.resize(limit);
    truncated = true;
  }
  if (std::find(tokens.target.begin(), tokens.target.end(), 1) == tokens.target.end())
    throw RowProblem{"empty", truncated
                                  ? fmt::format("nothing counts in its first {} tokens", limit)
                                  : "nothing in it counts: no answer to learn"};
  Example out;
  out.ids = std::move(tokens.ids);
  out.target = std::move(tokens.target);
  return out;
}

}  // namespace lancet
