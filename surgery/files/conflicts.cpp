#include "surgery/files/conflicts.h"

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"

namespace lancet {
namespace {

std::string text(const EditRecord& edit, const char* key) {
  return edit.fact.is_object() ? json_string(edit.fact, key, "ledger", "") : "";
}

[[noreturn]] void conflict(const EditRecord& one, const EditRecord& two, const std::string& what) {
  fail(ErrorKind::kMismatch, "apply",
       fmt::format("edits '{}' and '{}' {} ('{}', '{}')", one.id, two.id, what, text(one, "target"),
                   text(two, "target")),
       "take one of them out with `lancet undo --edit ID`, or give --force");
}

/// The edit's prompt with its subject in it.
std::string asked(const EditRecord& edit) {
  std::string prompt = text(edit, "prompt");
  const std::size_t slot = prompt.find("{}");
  return slot == std::string::npos ? prompt : prompt.replace(slot, 2, text(edit, "subject"));
}

double dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i)
    sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

void check_keys(const Ledger& ledger, const std::string& tensor) {
  std::vector<std::pair<const EditRecord*, double>> edits;  // with the key's length
  for (const EditRecord& edit : ledger.edits) {
    const auto found = edit.keys.find(tensor);
    if (found == edit.keys.end()) continue;
    edits.emplace_back(&edit, std::sqrt(dot(found->second, found->second)));
  }
  for (std::size_t b = 0; b < edits.size(); ++b) {
    for (std::size_t a = 0; a < b; ++a) {
      const auto& [one, size_one] = edits[a];
      const auto& [two, size_two] = edits[b];
      if (one->stage == two->stage || text(*one, "target") == text(*two, "target")) continue;
      const double cosine = dot(one->keys.at(tensor), two->keys.at(tensor)) / (size_one * size_two);
      if (cosine > kSameKey) {
        conflict(*one, *two,
                 fmt::format("have nearly the same key (cosine {:.4f} in '{}') and want different "
                             "targets",
                             cosine, tensor));
      }
    }
  }
}

}  // namespace

void check_conflicts(const Ledger& ledger) {
  std::map<std::string, std::vector<const EditRecord*>> seen;  // by filled prompt
  for (const EditRecord& edit : ledger.edits) {
    if (!edit.fact.is_object()) continue;
    std::vector<const EditRecord*>& same = seen[asked(edit)];
    for (const EditRecord* before : same) {
      if (text(*before, "target") != text(edit, "target"))
        conflict(*before, edit, fmt::format("give '{}' different targets", asked(edit)));
      const bool follows = ledger.stages[static_cast<std::size_t>(edit.stage)].follows;
      if (text(*before, "subject") != text(edit, "subject") || before->stage == edit.stage ||
          follows)
        continue;
      conflict(*before, edit,
               fmt::format("both write '{}', which would count twice", text(edit, "subject")));
    }
    same.push_back(&edit);
  }
  for (const LedgerTensor& tensor : ledger.tensors) check_keys(ledger, tensor.name);
}

}  // namespace lancet
