#include "distill/teacher/sse.h"

#include <utility>

namespace lancet {

std::vector<ServerEvent> EventParser::feed(std::string_view bytes) {
  std::vector<ServerEvent> out;
  for (const char c : bytes) {
    const bool second_of_pair = std::exchange(after_cr_, c == '\r') && c == '\n';
    if (second_of_pair) continue;
    if (c == '\r' || c == '\n') {
      end_line(out);
    } else {
      line_ += c;
    }
  }
  return out;
}

void EventParser::end_line(std::vector<ServerEvent>& out) {
  std::string line = std::exchange(line_, {});
  if (!std::exchange(started_, true) && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);
  if (line.empty()) {
    if (has_data_) {
      event_.data.pop_back();  // the newline after the last data line
      out.push_back(event_);
    }
    event_ = {};
    has_data_ = false;
    return;
  }
  if (line.front() == ':') return;  // a comment, often a sign of life
  const std::size_t colon = line.find(':');
  const std::string_view all(line);
  if (colon == std::string::npos) return take_field(all, {});
  std::string_view value = all.substr(colon + 1);
  if (value.starts_with(' ')) value.remove_prefix(1);
  take_field(all.substr(0, colon), value);
}

void EventParser::take_field(std::string_view name, std::string_view value) {
  if (name == "data") {
    event_.data.append(value).append(1, '\n');
    has_data_ = true;
  } else if (name == "event") {
    event_.type = value;
  } else if (name == "id" && value.find('\0') == std::string_view::npos) {
    event_.id = value;
  }
}

}  // namespace lancet
