#include "distill/train/teacher_columns.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "distill/train/training_row.h"

namespace lancet {
namespace {

/// The token is the teacher's: by id, else by its bytes; the first token of a text may have lost
/// the blank that its piece has, and an end token may have no text.
bool is_same(const TeacherToken& teacher, std::int32_t id, const Tokenizer& tokenizer) {
  if (teacher.id >= 0) return teacher.id == id;
  const auto bytes = tokenizer.spelling(id);
  if (bytes && *bytes == teacher.bytes) return true;
  if (bytes && bytes->starts_with(' ') && std::string_view(*bytes).substr(1) == teacher.bytes)
    return true;
  return tokenizer.is_special(id) &&
         (teacher.bytes.empty() || teacher.bytes == tokenizer.token(id));
}

std::string shown(const TeacherToken& teacher) {
  if (teacher.id >= 0) return fmt::format("token {}", teacher.id);
  return fmt::format("'{}'", printable(teacher.bytes, 30));
}

/// Id of an alternative, or nothing when its text is none of the vocabulary's.
std::optional<std::int32_t> id_of(const TeacherToken::Alternative& each, const Tokenizer& tokenizer,
                                  const PieceTable& pieces) {
  if (each.id < 0) {
    if (const auto found = pieces.find(each.bytes)) return found;
    return tokenizer.id(each.bytes);
  }
  if (each.id >= tokenizer.vocab_size())
    throw RowProblem{"vocabulary", fmt::format("teacher: token {} among the best, the student has "
                                               "{} tokens: another vocabulary",
                                               each.id, tokenizer.vocab_size())};
  return static_cast<std::int32_t>(each.id);
}

TopK top_of(const TeacherToken& teacher, const Tokenizer& tokenizer, const PieceTable& pieces) {
  std::vector<std::pair<float, std::int32_t>> found;
  for (const auto& each : teacher.top) {
    const auto id = id_of(each, tokenizer, pieces);
    const bool twice = id && std::any_of(found.begin(), found.end(),
                                         [&](const auto& other) { return other.second == *id; });
    if (id && !twice) found.emplace_back(static_cast<float>(each.logprob), *id);
  }
  if (found.size() * 2 < teacher.top.size())
    throw RowProblem{"vocabulary",
                     fmt::format("teacher: {} of {} tokens are not the student's: another "
                                 "vocabulary",
                                 teacher.top.size() - found.size(), teacher.top.size())};
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  TopK out;
  for (const auto& [logprob, id] : found) {
    out.ids.push_back(id);
    out.logprobs.push_back(logprob);
  }
  return out;
}

/// Where among the positions the teacher's first token lies.
std::size_t first_of(const std::vector<TeacherToken>& teacher, const TaughtTokens& tokens,
                     const Tokenizer& tokenizer) {
  const std::size_t places = tokens.end - tokens.begin;
  std::size_t at = 0;
  // A scored text without the begin token that the student's tokenizer puts before it.
  if (tokens.whole_text && !teacher.empty() && tokenizer.is_special(tokens.ids[tokens.begin]) &&
      !is_same(teacher.front(), tokens.ids[tokens.begin], tokenizer))
    at = 1;
  const std::size_t rest = places - at;
  if (teacher.size() == rest || teacher.size() + 1 == rest) return at;
  throw RowProblem{"teacher", fmt::format("teacher: {} tokens, the student has {} there: another "
                                          "vocabulary, or the text was changed",
                                          teacher.size(), rest)};
}

}  // namespace

PieceTable::PieceTable(const Tokenizer& tokenizer) {
  for (std::int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
    const auto bytes = tokenizer.spelling(id);
    if (!bytes || bytes->empty() || tokenizer.is_special(id)) continue;
    const auto [place, fresh] = ids_.emplace(*bytes, id);
    const std::string token = tokenizer.token(place->second);
    if (!fresh && token.starts_with("<0x")) place->second = id;
  }
}

std::optional<std::int32_t> PieceTable::find(const std::string& bytes) const {
  const auto found = ids_.find(bytes);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<TeacherToken> read_teacher(std::string_view json) {
  constexpr std::string_view kColumns[] = {"tokens", "top",     "logprobs", "top_logprobs",
                                           "ids",    "top_ids", "texts",    "top_texts"};
  try {
    const Json columns = parse_json(json, "teacher");
    for (const auto& [key, value] : columns.items()) {
      if (std::ranges::find(kColumns, key) == std::end(kColumns))
        throw RowProblem{"teacher", fmt::format("teacher: unknown key '{}'", printable(key, 40))};
    }
    std::vector<TeacherToken> out = logprobs_from_json(columns);
    if (const auto problem = logprobs_problem(out))
      throw RowProblem{"teacher", "teacher: " + *problem};
    return out;
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) throw;
    throw RowProblem{"teacher", error.message()};
  } catch (const nlohmann::json::exception&) {
    throw RowProblem{"teacher", "teacher: expected the columns that synthesize writes"};
  }
}

std::vector<TopK> align_teacher(const std::vector<TeacherToken>& teacher,
                                const TaughtTokens& tokens, const Tokenizer& tokenizer,
                                const PieceTable& pieces) {
  std::vector<TopK> out(tokens.end - tokens.begin);
  const std::size_t first = first_of(teacher, tokens, tokenizer);
  for (std::size_t i = 0; i < teacher.size(); ++i) {
    const std::int32_t id = tokens.ids[tokens.begin + first + i];
    if (!is_same(teacher[i], id, tokenizer))
      throw RowProblem{"vocabulary",
                       fmt::format("teacher: {} at its token {}, the student reads '{}' there",
                                   shown(teacher[i]), i, printable(tokenizer.token(id), 30))};
    out[first + i] = top_of(teacher[i], tokenizer, pieces);
  }
  return out;
}

}  // namespace lancet
