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
  std::vector<std::string> notes;  ///< keys of our own records that nothing reads, one each
};

/// Throws kInput only when the file is missing, is neither an array nor JSON lines, or holds no
/// record at all.
[[nodiscard]] FactsFile read_facts(const fs::path& path);
[[nodiscard]] FactsFile parse_facts(std::string_view text, std::string_view source);

/// Warns of what was left out. kInput of `operation` where no fact is left.
void report_left_out(const FactsFile& file, std::string_view operation, std::string_view source);

/// kUsage "key 'target': ..." for a target that is the fact's own `true`.
void check_new_answer(const Fact& fact);

/// What stands against editing the facts of one file together. A target that is the record's own
/// `true`, or a record that says what an earlier one says, goes to `bad`. Two records with one id,
/// or with one subject and prompt but different targets, are kUsage and named by line; with
/// `last_wins` the earlier one of such a contradiction goes to `bad` instead.
void check_together(FactsFile& file, bool last_wins, std::string_view source);

/// One record of any known kind. Throws kUsage "key 'subject': expected ..., found ..." (`index`
/// gives the id of a record without one: "1", "2", ...). "{}" in prompts beside the fact's own
/// stands for its subject.
[[nodiscard]] Fact parse_fact(const Json& record, std::size_t index);
/// The facts of one record: MQuAKE's have several rewrites (ids ID, ID-2, ...), all others one.
/// kUsage for "{}" in `leak`, which asks about other subjects.
[[nodiscard]] std::vector<Fact> parse_record(const Json& record, std::size_t index);
/// Whether a record has an id of its own.
[[nodiscard]] bool has_id(const Json& record);
/// Keys of a record of our own kind that nothing reads; none of another kind.
[[nodiscard]] std::vector<std::string> unread_keys(const Json& record);
/// "did you mean 'x'?" or "", for such a key.
[[nodiscard]] std::string nearest_key(std::string_view key);
/// Questions of a record whose answers follow from the edit or stay: KnowEdit's and EasyEdit's
/// portability and locality, MQuAKE's questions, RippleEdits' tests, and `checks` of our own.
[[nodiscard]] std::vector<Fact::Check> read_checks(const Json& record);
/// Our own form of a fact, as `--requests` reads it.
[[nodiscard]] Json fact_to_json(const Fact& fact);

/// Checks what every editor needs: one "{}" in the prompt, a subject and a target that are not
/// empty. kUsage.
void check_fact(const Fact& fact);

}  // namespace lancet
