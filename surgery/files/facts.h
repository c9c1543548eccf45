#pragma once
// Files of facts: a JSON array or JSON lines. CounterFact, zsRE, EasyEdit, KnowEdit records and our
// own are recognised by their keys (docs/facts.md, editing reference 2.1-2.4).

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "surgery/requests.h"

namespace lancet {

/// A record that could not be used; the others are kept.
struct BadRecord {
  std::size_t record = 0;  ///< 1-based place in the file
  std::size_t line = 0;    ///< 1-based line where the record begins
  std::string key;         ///< key that is missing or wrong ("" = the record itself)
  std::string message;     ///< "record 3 at line 12: key 'subject': expected text, ..."
};

struct FactsFile {
  std::vector<Fact> facts;
  std::vector<std::size_t> lines;  ///< 1-based, where each of `facts` begins
  std::vector<BadRecord> bad;
  std::vector<std::string>
      notes;  ///< keys that nothing reads, checks that cannot be read: one each
};

/// Throws kInput only when the file is missing, is neither an array nor JSON lines, or holds no
/// record at all.
[[nodiscard]] FactsFile read_facts(const fs::path& path);
[[nodiscard]] FactsFile parse_facts(std::string_view text, std::string_view source);

/// [{line, key, reason}] of what was left out, for --json.
[[nodiscard]] Json left_out_json(const FactsFile& file);
/// Warns of what was left out. kInput of `operation` where no fact is left.
void report_left_out(const FactsFile& file, std::string_view operation, std::string_view source);

/// kUsage "key 'target': ..." for a target that is the fact's own `true`.
void check_new_answer(const Fact& fact);

/// What stands against editing the facts of one file together. A target that is the record's own
/// `true`, or a record that says what an earlier one says, goes to `bad`. Two records with one id,
/// or with different targets for one prompt (its subject filled in, wherever it stands), are kUsage
/// and named by line and id; with `last_wins` the earlier one of such a contradiction goes to `bad`
/// instead.
void check_together(FactsFile& file, bool last_wins, std::string_view source);

/// One record of any known kind. Throws kUsage "key 'subject': expected ..., found ..." (`index`
/// gives the id of a record without one: "1", "2", ...). "{}" in prompts beside the fact's own
/// stands for its subject; blanks at the end of prompts are dropped.
[[nodiscard]] Fact parse_fact(const Json& record, std::size_t index);
/// What one record gives.
struct FactRecord {
  std::vector<Fact> facts;  ///< of MQuAKE one a rewrite (ids ID, ID-2, ...), of all others one
  std::vector<std::string> notes;  ///< "key 'x': nothing reads it; ...", checks that are left out
};
/// kUsage as parse_fact(), and for "{}" in `leak`, which asks about other subjects.
[[nodiscard]] FactRecord parse_record(const Json& record, std::size_t index);
/// Whether a record has an id of its own.
[[nodiscard]] bool has_id(const Json& record);
/// Questions of a record whose answers follow from the edit or stay: KnowEdit's and EasyEdit's
/// portability and locality, MQuAKE's questions, RippleEdits' tests, and `checks` of our own. What
/// cannot be read is told in `notes` and left out.
[[nodiscard]] std::vector<Fact::Check> read_checks(const Json& record,
                                                   std::vector<std::string>& notes);
/// Our own form of a fact, as `--requests` reads it.
[[nodiscard]] Json fact_to_json(const Fact& fact);

/// Takes blanks off the end of every prompt: the one before an answer is put there in any case
/// (subject.h), and a blank that stands alone is another token than the one that begins a word.
void drop_end_blanks(Fact& fact);

/// Checks what every editor needs: one "{}" in the prompt, a subject and a target that are not
/// empty. kUsage.
void check_fact(const Fact& fact);

}  // namespace lancet
