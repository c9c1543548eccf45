#include "distill/train/local_teacher.h"

#include <algorithm>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "distill/losses/ops/alignment.h"
#include "distill/train/identity.h"

namespace lancet {
namespace {

/// Same pieces under the same ids, special where the other's are.
void check_same(const Tokenizer& student, const Tokenizer& teacher) {
  const auto refuse = [](const std::string& what) {
    fail(ErrorKind::kMismatch, "train",
         "expected a teacher with the student's tokenizer, found " + what,
         "--loss uld compares models with different tokenizers");
  };
  if (student.vocab_size() != teacher.vocab_size())
    refuse(fmt::format("{} tokens instead of {}", teacher.vocab_size(), student.vocab_size()));
  for (TokenId id = 0; id < student.vocab_size(); ++id) {
    const auto ours = student.spelling(id), theirs = teacher.spelling(id);
    const bool same = ours.has_value() == theirs.has_value() &&
                      (!ours || (student.token(id) == teacher.token(id) &&
                                 student.is_special(id) == teacher.is_special(id)));
    if (same) continue;
    refuse(fmt::format("'{}' instead of '{}' under the id {}",
                       printable(theirs ? teacher.token(id) : "", 40),
                       printable(ours ? student.token(id) : "", 40), id));
  }
}

/// What the teacher is told of one of the student's tokens.
class Said {
 public:
  Said(const Tokenizer& student, const Tokenizer& teacher)
      : student_(student), teacher_(teacher), begins_(!teacher.encode("", true).ids.empty()) {}

  [[nodiscard]] std::string operator()(TokenId id, bool first) const {
    if (student_.is_special(id)) return special(id, first);
    std::string bytes = student_.spelling(id).value_or("");
    // The blank that a piece has only inside a text.
    if (first && bytes.starts_with(' ') && !student_.decode({id}, false).starts_with(' '))
      bytes.erase(0, 1);
    return bytes;
  }

 private:
  [[nodiscard]] std::string special(TokenId id, bool first) const {
    // The teacher's tokenizer puts its own in front.
    if (first && begins_ && student_.bos() == id) return {};
    if (student_.eos() == id && teacher_.eos()) return teacher_.token(*teacher_.eos());
    std::string piece = student_.token(id);
    const auto theirs = teacher_.id(piece);
    return theirs && teacher_.is_special(*theirs) ? piece : std::string();
  }

  const Tokenizer& student_;
  const Tokenizer& teacher_;
  bool begins_;
};

}  // namespace

ReadText read_as(const Tokenizer& student, std::span<const std::int64_t> ids,
                 const Tokenizer& teacher) {
  const Said said(student, teacher);
  std::string text;
  std::vector<std::size_t> spoken;  // of the student's tokens: those that have bytes
  std::vector<std::uint64_t> begins;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    const std::string bytes = said(static_cast<TokenId>(ids[t]), text.empty());
    if (bytes.empty()) continue;
    spoken.push_back(t);
    begins.push_back(text.size());
    text += bytes;
  }
  if (const auto broken = find_invalid_utf8(text)) text.resize(*broken);
  const Encoding read = teacher.encode(text, true);
  std::vector<std::uint64_t> theirs;
  std::vector<std::int64_t> rows;
  for (std::size_t j = 1; j < read.ids.size(); ++j) {
    const auto [begin, end] = read.offsets[j];
    if (begin == end) continue;
    theirs.push_back(begin);
    rows.push_back(static_cast<std::int64_t>(j) - 1);
  }
  ReadText out{read.ids, std::vector<std::int64_t>(ids.size(), -1)};
  const auto beside = losses::aligned_rows(begins, theirs);
  for (std::size_t i = 0; i < spoken.size(); ++i) {
    if (beside[i] >= 0) out.row[spoken[i]] = rows[static_cast<std::size_t>(beside[i])];
  }
  return out;
}

LocalTeacher::LocalTeacher(const fs::path& model, const Tokenizer& student, const Loss& loss)
    : student_(student),
      needs_(loss.needs),
      source_(ModelSource::open(model)),
      tokenizer_(Tokenizer::open(source_)),
      spec_(Decoder::describe(source_)) {
  if (needs_.own_tokenizer) return;
  check_same(student, tokenizer_);
  shared_ = std::min(student.vocab_size(), spec_.vocab);
}

void LocalTeacher::load(const LoadOptions& options) { decoder_ = Decoder::load(source_, options); }

Json LocalTeacher::identity() const { return model_identity(source_, tokenizer_); }

at::Tensor LocalTeacher::states(const std::vector<std::int64_t>& ids,
                                const std::vector<std::int64_t>& segments,
                                const std::vector<std::int64_t>& rows) const {
  Pass pass;
  pass.segments = segments;
  const at::Tensor hidden = decoder_->run(decoder_->embed(at::tensor(ids, at::kLong).unsqueeze(0)),
                                          0, spec_.layers, pass);
  return hidden.flatten(0, 1).index_select(0, at::tensor(rows, at::kLong).to(hidden.device()));
}

void LocalTeacher::teach(MicroBatch& batch) const {
  const c10::AutoGradMode no_gradients(false);
  batch.targets.teacher = &*decoder_;
  if (needs_.own_tokenizer) return read_own(batch);
  const auto* from = batch.ids.const_data_ptr<std::int64_t>();
  at::Tensor hidden = states({from, from + batch.ids.numel()}, batch.segments, batch.rows);
  if (needs_.rollouts) {
    const at::Tensor said =
        token_logprobs(*decoder_, hidden, batch.targets.next).to(at::kCPU).contiguous();
    const auto* values = said.const_data_ptr<double>();
    batch.targets.teacher_logprob.assign(values, values + said.numel());
    return;
  }
  batch.targets.teacher_hidden = std::move(hidden);
  batch.targets.shared_vocab = shared_;
}

void LocalTeacher::read_own(MicroBatch& batch) const {
  std::vector<std::int64_t> ids, segments, wanted;
  const auto* from = batch.ids.const_data_ptr<std::int64_t>();
  std::int64_t begin = 0;
  std::size_t row = 0;
  for (const std::int64_t length : batch.segments) {
    const ReadText text =
        read_as(student_, {from + begin, static_cast<std::size_t>(length)}, tokenizer_);
    for (; row < batch.rows.size() && batch.rows[row] < begin + length; ++row) {
      const std::int64_t beside = text.row[static_cast<std::size_t>(batch.rows[row] + 1 - begin)];
      batch.targets.teacher_row.push_back(beside < 0 ? -1
                                                     : static_cast<std::int64_t>(wanted.size()));
      if (beside >= 0) wanted.push_back(static_cast<std::int64_t>(ids.size()) + beside);
    }
    begin += length;
    if (text.ids.empty()) continue;
    ids.insert(ids.end(), text.ids.begin(), text.ids.end());
    segments.push_back(static_cast<std::int64_t>(text.ids.size()));
  }
  batch.targets.teacher_hidden = wanted.empty() ? at::empty({0, spec_.d_model}, decoder_->options())
                                                : states(ids, segments, wanted);
}

}  // namespace lancet
