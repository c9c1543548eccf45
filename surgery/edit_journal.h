#pragma once
// What survives a kill of `lancet edit` where it writes in several turns: the turns, and that their
// result was being written.

#include <functional>
#include <memory>

#include "core/json.h"
#include "formats/output_journal.h"
#include "surgery/editor.h"
#include "surgery/turns.h"

namespace lancet {

class EditJournal {
 public:
  /// Beside the first output of the request; null for an edit of one turn. `identity`
  /// is asked for edit_identity(). Errors of OutputJournal.
  [[nodiscard]] static std::unique_ptr<EditJournal> open(const EditRequest& request,
                                                         const Editor& editor,
                                                         const std::function<Json()>& identity);
  /// Where an earlier run left turns and was writing outputs: they are its own, not somebody
  /// else's. (Whether it was the same edit, open() finds out.)
  [[nodiscard]] static bool was_writing(const EditRequest& request, const Editor& editor);

  [[nodiscard]] Turns& turns() noexcept { return turns_; }
  /// Outputs that stand there may be an earlier run's.
  [[nodiscard]] bool goes_on_writing() const noexcept { return writing_; }
  /// Before the first output.
  void begin_writing();
  /// The edit has come to its end, good or bad.
  void finish();

 private:
  OutputJournal journal_;
  Turns turns_;
  bool writing_ = false;

  EditJournal(const fs::path& out, const Json& identity, bool restart);
};

/// Everything that decides what the turns are. `covariance`: identities of the second moments,
/// `inputs`: models of lancet.json. Reads the tokenizer and a file of contexts.
[[nodiscard]] Json edit_identity(const Editor& editor, const EditInput& input, double stop_at,
                                 const Json& config, const Json& covariance, const Json& inputs);

}  // namespace lancet
