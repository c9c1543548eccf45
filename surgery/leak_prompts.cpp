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
  std::vector<std::string> words, subjects;
};

std::vector<std::string> texts(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() ? std::vector<std::string>{} : found->get<std::vector<std::string>>();
}

const std::vector<SubjectList>& subject_lists() {
  static const std::vector<SubjectList> kLists = [] {
    const fs::path path = share_dir() / "subjects.json";
    std::vector<SubjectList> out;
    try {
      const Json lists = read_json(path);
      for (const auto& [name, entry] : lists.items()) {
        out.push_back({name, json_bool(entry, "invented", name, false), texts(entry, "words"), texts(entry, "subjects")});
      }
    } catch (const Json::exception& error) {
      fail(ErrorKind::kInput, "probe", fmt::format("expected lists of subjects, found {} ({})", error.what(), path.string()));
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
    for (const std::string& known : list.subjects) {
      if (bare_name(known) == subject) return &list;
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
                           : real->name == "countries" || real->name == "cities" ? "invented_places"
                                                                                 : "invented_things";
  for (const SubjectList& list : subject_lists()) {
    if (list.name == wish) return &list;
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> make_leak_prompts(const Fact& fact, std::int64_t count) {
  const SubjectList* real = find_list(fact);
  const SubjectList* invented = find_invented(real);
  const std::string own = bare_name(fact.subject), target = bare_name(fact.target);
  std::vector<std::string> out;
  std::size_t next[2] = {0, 0};
  const SubjectList* lists[2] = {real, invented};
  while (static_cast<std::int64_t>(out.size()) < count) {
    std::size_t which = out.size() % 3 == 2 ? 1 : 0;
    if (lists[which] == nullptr || next[which] >= lists[which]->subjects.size()) which = 1 - which;
    if (lists[which] == nullptr || next[which] >= lists[which]->subjects.size()) break;
    const std::string& subject = lists[which]->subjects[next[which]++];
    if (bare_name(subject) == own || bare_name(subject) == target) continue;
    out.push_back(fill_template(fact.prompt, subject));
  }
  return out;
}

}  // namespace lancet
