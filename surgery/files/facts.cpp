#include "surgery/files/facts.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/text.h"

namespace lancet {
namespace {

/// The text of one record and where it begins.
struct Slice {
  std::string_view text;
  std::size_t line = 0;
};

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

std::string_view trim(std::string_view text) {
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  return text;
}

/// Elements of a JSON array as text: only strings and brackets are looked at, each element is
/// parsed later, so that a broken one does not take the others with it.
std::vector<Slice> slice_array(std::string_view text, std::string_view source) {
  std::vector<Slice> slices;
  std::size_t depth = 0, line = 1, begin = 0, begin_line = 0;
  bool in_string = false, closed = false, started = false;
  const auto finish = [&](std::size_t end) {
    const std::string_view element = trim(text.substr(begin, end - begin));
    if (!element.empty()) slices.push_back({element, begin_line});
    started = false;
  };
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') ++line;
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (closed && !is_space(c)) {
      fail(ErrorKind::kInput, "facts",
           fmt::format("{}:{}: expected the end of the file after ']'", source, line));
    }
    if (depth == 1 && !started && !is_space(c) && c != ',' && c != ']') {
      started = true;
      begin = i;
      begin_line = line;
    }
    if (c == '"') in_string = true;
    if (c == '[' || c == '{') ++depth;
    if ((c == ']' || c == '}') && depth > 0 && --depth == 0) {
      if (started) finish(i);
      closed = true;
    }
    if (c == ',' && depth == 1 && started) finish(i);
  }
  if (!closed) {
    fail(ErrorKind::kInput, "facts",
         fmt::format("{}:{}: expected ']', found the end of the file", source, line));
  }
  return slices;
}

std::vector<Slice> slice_lines(std::string_view text) {
  std::vector<Slice> slices;
  std::size_t line = 1;
  for (std::size_t at = 0; at <= text.size(); ++line) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view record = trim(text.substr(at, end - at));
    if (!record.empty()) slices.push_back({record, line});
    at = end + 1;
  }
  return slices;
}

/// One object over several lines instead of one a line.
bool is_single_object(std::string_view text, const std::vector<Slice>& lines) {
  if (lines.size() < 2 || lines.front().text.ends_with("}")) return false;
  try {
    return parse_json(trim(text), "facts").is_object();
  } catch (const Error&) {
    return false;
  }
}

std::vector<Slice> slice_records(std::string_view text, std::string_view source) {
  const std::string_view body = trim(text);
  if (body.empty()) {
    fail(ErrorKind::kInput, "facts",
         fmt::format("expected a JSON array or JSON lines, found an empty file ({})", source));
  }
  if (body.front() == '[') return slice_array(text, source);
  std::vector<Slice> lines = slice_lines(text);
  if (is_single_object(text, lines)) return {{body, lines.front().line}};
  return lines;
}

/// "key 'subject': expected ..." -> "subject".
std::string key_of(const std::string& message) {
  constexpr std::string_view kMark = "key '";
  if (!message.starts_with(kMark)) return "";
  const std::size_t end = message.find('\'', kMark.size());
  return end == std::string::npos ? "" : message.substr(kMark.size(), end - kMark.size());
}

/// An id that was made up gives way to one that was given: "2" -> "2#2".
void make_way(std::vector<Fact>& facts, const std::vector<bool>& given) {
  std::set<std::string> taken;
  for (std::size_t i = 0; i < facts.size(); ++i) {
    if (given[i]) taken.insert(facts[i].id);
  }
  for (std::size_t i = 0; i < facts.size(); ++i) {
    if (given[i]) continue;
    const std::string wish = facts[i].id;
    for (int n = 2; !taken.insert(facts[i].id).second; ++n)
      facts[i].id = fmt::format("{}#{}", wish, n);
  }
}

/// Where something is to be noted.
struct Place {
  std::size_t line = 0, records = 0;
};

std::vector<std::string> placed(const std::map<std::string, Place>& notes) {
  std::vector<std::string> out;
  for (const auto& [note, where] : notes) {
    const std::string more =
        where.records > 1 ? fmt::format(" and {} more", where.records - 1) : std::string();
    out.push_back(fmt::format("record at line {}{}: {}", where.line, more, note));
  }
  return out;
}

std::string fill_slot(std::string prompt, const std::string& subject) {
  return prompt.replace(prompt.find("{}"), 2, subject);
}

}  // namespace

namespace {

/// A record of `text`; an error tells its place in the whole of it.
Json parse_slice(const Slice& slice, std::string_view text, std::string_view source) {
  try {
    return parse_json(slice.text, source);
  } catch (const Error&) {
    const auto at = static_cast<std::size_t>(slice.text.data() - text.data());
    std::string before(text.substr(0, at));
    std::ranges::replace_if(
        before, [](char c) { return c != '\n'; }, ' ');
    return parse_json(before + std::string(slice.text), source);
  }
}

}  // namespace

FactsFile parse_facts(std::string_view text, std::string_view source) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  FactsFile file;
  const std::vector<Slice> slices = slice_records(text, source);
  std::vector<bool> given;  // whether the id of each fact was
  std::map<std::string, Place> notes;
  for (std::size_t i = 0; i < slices.size(); ++i) {
    try {
      const Json record = parse_slice(slices[i], text, source);
      FactRecord read = parse_record(record, i + 1);
      for (Fact& fact : read.facts) {
        file.facts.push_back(std::move(fact));
        file.lines.push_back(slices[i].line);
        given.push_back(has_id(record));
      }
      for (const std::string& note : read.notes) {
        Place& where = notes[note];
        if (where.records++ == 0) where.line = slices[i].line;
      }
    } catch (const Error& error) {
      const std::string key = key_of(error.message());
      file.bad.push_back(
          {i + 1, slices[i].line, key,
           fmt::format("record {} at line {}: {}", i + 1, slices[i].line, error.message())});
    }
  }
  if (slices.empty()) {
    fail(ErrorKind::kInput, "facts",
         fmt::format("expected at least one record, found none ({})", source));
  }
  make_way(file.facts, given);
  file.notes = placed(notes);
  return file;
}

Json left_out_json(const FactsFile& file) {
  Json out = Json::array();
  for (const BadRecord& bad : file.bad)
    out.push_back({{"line", bad.line}, {"key", bad.key}, {"reason", bad.message}});
  return out;
}

void report_left_out(const FactsFile& file, std::string_view operation, std::string_view source) {
  for (const BadRecord& bad : file.bad) log::warn(fmt::format("{}: {}", source, bad.message));
  for (const std::string& note : file.notes) log::warn(fmt::format("{}: {}", source, note));
  if (file.facts.empty()) {
    fail(ErrorKind::kInput, operation,
         fmt::format("{}: expected at least one usable record, found none", source));
  }
}

void check_new_answer(const Fact& fact) {
  if (fact.truth != fact.target) return;
  fail(ErrorKind::kUsage, "facts",
       fmt::format("key 'target': expected another answer than 'true', found '{}' twice",
                   printable(fact.target)));
}

void check_together(FactsFile& file, bool last_wins, std::string_view source) {
  std::vector<std::string> problem(file.facts.size());
  std::map<std::string, std::size_t> ids;
  std::map<std::string, std::vector<std::size_t>> asked;  // facts that stand, by filled prompt
  for (std::size_t i = 0; i < file.facts.size(); ++i) {
    const Fact& fact = file.facts[i];
    try {
      check_new_answer(fact);
    } catch (const Error& error) {
      problem[i] = error.message();
      continue;
    }
    const std::string prompt = fill_slot(fact.prompt, fact.subject);
    std::vector<std::size_t>& same = asked[prompt];
    for (const std::size_t other : same) {
      const Fact& before = file.facts[other];
      if (before.target == fact.target) {
        if (before.subject == fact.subject)
          problem[i] = fmt::format("says what the record at line {} says", file.lines[other]);
        continue;
      }
      if (!last_wins) {
        fail(ErrorKind::kUsage, "facts",
             fmt::format("lines {} and {} (ids '{}' and '{}'): expected one target for '{}', found "
                         "'{}' and '{}' ({})",
                         file.lines[other], file.lines[i], printable(before.id), printable(fact.id),
                         printable(prompt), printable(before.target), printable(fact.target),
                         source),
             "take one of them out, or give --last-wins");
      }
      problem[other] = fmt::format("gives way to line {}, which wants '{}'", file.lines[i],
                                   printable(fact.target));
    }
    if (!problem[i].empty()) continue;
    std::erase_if(same, [&](std::size_t other) { return !problem[other].empty(); });
    same.push_back(i);
    const auto [same_id, fresh_id] = ids.try_emplace(fact.id, i);
    if (!fresh_id && problem[same_id->second].empty()) {
      fail(ErrorKind::kUsage, "facts",
           fmt::format("lines {} and {}: expected an id each, found '{}' twice ({})",
                       file.lines[same_id->second], file.lines[i], printable(fact.id), source),
           "ids are what `undo --edit` takes out");
    }
    same_id->second = i;
  }
  FactsFile kept;
  kept.bad = std::move(file.bad);
  kept.notes = std::move(file.notes);
  for (std::size_t i = 0; i < file.facts.size(); ++i) {
    if (problem[i].empty()) {
      kept.facts.push_back(std::move(file.facts[i]));
      kept.lines.push_back(file.lines[i]);
    } else {
      kept.bad.push_back({i + 1, file.lines[i], key_of(problem[i]),
                          fmt::format("record at line {}: {}", file.lines[i], problem[i])});
    }
  }
  file = std::move(kept);
}

FactsFile read_facts(const fs::path& path) {
  return parse_facts(read_file(path, 1ULL << 30), path.string());
}

}  // namespace lancet
