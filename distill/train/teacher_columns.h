#pragma once
// A row's "teacher" (distill/teacher/answer.h: logprobs_json) laid on the tokens of the student.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "distill/teacher/answer.h"
#include "distill/train/example.h"
#include "formats/tokenizer/tokenizer.h"

namespace lancet {

/// Ids by the bytes that tokens add to a text, for teachers whose servers give no ids.
class PieceTable {
 public:
  explicit PieceTable(const Tokenizer& tokenizer);
  /// Of tokens with the same bytes the one that is no lone byte, else the lowest.
  [[nodiscard]] std::optional<std::int32_t> find(const std::string& bytes) const;

 private:
  std::unordered_map<std::string, std::int32_t> ids_;
};

/// The tokens of one row: all ids, and those positions that the teacher may have spoken of, in
/// order and without gaps (the last assistant turn, a completion, or a whole text).
struct TaughtTokens {
  std::span<const std::int32_t> ids;
  std::size_t begin = 0, end = 0;
  bool whole_text = false;  ///< the teacher's first token may be the second of `ids` (after BOS)
};

/// One TopK for each of the positions [begin, end), empty where the teacher said nothing (the end
/// token, the first token of a text). Throws RowProblem: "teacher" for columns that are damaged,
/// probabilities that are none or another number of tokens; "vocabulary" for ids outside the
/// tokenizer or tokens that are not the student's.
[[nodiscard]] std::vector<TopK> align_teacher(const std::vector<TeacherToken>& teacher,
                                              const TaughtTokens& tokens,
                                              const Tokenizer& tokenizer, const PieceTable& pieces);
/// The columns of a row; throws RowProblem "teacher".
[[nodiscard]] std::vector<TeacherToken> read_teacher(std::string_view json);

}  // namespace lancet
