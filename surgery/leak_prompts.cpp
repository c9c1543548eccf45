#include "surgery/leak_prompts.h"

#include <algorithm>
#include <cctype>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/json.h"
#include "surgery/subject.h"

namespace lancet {
namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

/// Without an article: "The Eiffel Tower" and "Eiffel Tower" are one subject.
std::string bare_name(std::string_view text) {
  std::string out = lower(text);
  if (out.starts_with("the ")) out.erase(0, 4);
  return out;
}

struct SubjectList {
  std::string name;
  bool invented = false;
  std::vector<std::string> words, subjects, kept;  ///< kept: for editors to protect, never asked
};

std::vector<std::string> texts(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? std::vector<std::string>{}
                               : found->get<std::vector<std::string>>();
}

const std::vector<SubjectList>& subject_lists() {
  static const std::vector<SubjectList> kLists = [] {
    const fs::path path = share_dir() / "subjects.json";
    std::vector<SubjectList> out;
    try {
      const Json lists = read_json(path);
      for (const auto& [name, entry] : lists.items()) {
        out.push_back({name, json_bool(entry, "invented", name, false), texts(entry, "words"),
                       texts(entry, "subjects"), texts(entry, "protected")});
      }
    } catch (const Json::exception& error) {
      fail(ErrorKind::kInput, "probe",
           fmt::format("expected lists of subjects, found {} ({})", error.what(), path.string()));
    }
    return out;
  }();
  return kLists;
}

/// The list that fits the fact best; people where nothing does.
const SubjectList* find_list(const Fact& fact) {
  const std::string subject = bare_name(fact.subject), prompt = lower(fact.prompt);
  const SubjectList* best = nullptr;
  std::size_t longest = 0;
  for (const SubjectList& list : subject_lists()) {
    if (list.invented) continue;
    const auto same = [&](const std::string& known) { return bare_name(known) == subject; };
    if (std::ranges::any_of(list.subjects, same) || std::ranges::any_of(list.kept, same)) {
      return &list;
    }
    for (const std::string& word : list.words) {
      if (word.size() > longest && prompt.find(word) != std::string::npos) {
        best = &list;
        longest = word.size();
      }
    }
    if (best == nullptr && list.name == "people") best = &list;
  }
  return best;
}

const SubjectList* find_invented(const SubjectList* real) {
  const std::string wish = real == nullptr || real->name == "people" ? "invented_people"
                           : real->name == "countries" || real->name == "cities"
                               ? "invented_places"
                               : "invented_things";
  for (const SubjectList& list : subject_lists()) {
    if (list.name == wish) return &list;
  }
  return nullptr;
}

/// Subjects of the list that fits and of the invented one (every third), in a fixed order.
std::vector<std::string> other_subjects(const Fact& fact, std::int64_t count,
                                        std::vector<std::string> SubjectList::*which) {
  const SubjectList* real = find_list(fact);
  const SubjectList* lists[2] = {real, find_invented(real)};
  const std::string own = bare_name(fact.subject), target = bare_name(fact.target);
  const bool has_article = lower(fact.prompt).find("the {}") != std::string::npos;
  std::vector<std::string> out;
  std::size_t next[2] = {0, 0};
  const auto is_empty = [&](std::size_t i) {
    return lists[i] == nullptr || next[i] >= (lists[i]->*which).size();
  };
  while (static_cast<std::int64_t>(out.size()) < count) {
    std::size_t list = out.size() % 3 == 2 ? 1 : 0;
    if (is_empty(list)) list = 1 - list;
    if (is_empty(list)) break;
    const std::string& subject = (lists[list]->*which)[next[list]++];
    if (bare_name(subject) == own || bare_name(subject) == target) continue;
    out.push_back(has_article && subject.starts_with("The ") ? subject.substr(4) : subject);
  }
  return out;
}

}  // namespace

std::vector<std::string> make_leak_prompts(const Fact& fact, std::int64_t count) {
  std::vector<std::string> out = other_subjects(fact, count, &SubjectList::subjects);
  for (std::string& subject : out) subject = fill_template(fact.prompt, subject);
  return out;
}

std::vector<std::string> invented_subjects(const Fact& fact, std::int64_t count) {
  const SubjectList* list = find_invented(find_list(fact));
  std::vector<std::string> out;
  if (list == nullptr) return out;
  for (const std::string& subject : list->subjects) {
    if (std::ssize(out) == count) break;
    if (subject != fact.subject && subject != fact.target) out.push_back(subject);
  }
  return out;
}

std::vector<std::string> protected_subjects(const Fact& fact, std::int64_t count) {
  return other_subjects(fact, count, &SubjectList::kept);
}

}  // namespace lancet
