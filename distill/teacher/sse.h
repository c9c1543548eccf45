#pragma once
// Server-sent events (WHATWG HTML, "9.2 Server-sent events"): bytes in any pieces to events.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace lancet {

struct ServerEvent {
  std::string type;  ///< "" means "message"
  std::string data;  ///< `data:` lines joined by newlines
  std::string id;    ///< of an `id:` line of its own, "" when it has none
};

class EventParser {
 public:
  /// Events completed by these bytes, in order. Lines end in LF, CR LF or CR; an event without data
  /// is dropped, as the standard says.
  std::vector<ServerEvent> feed(std::string_view bytes);

 private:
  std::string line_;
  ServerEvent event_;
  bool has_data_ = false;
  bool after_cr_ = false;
  bool started_ = false;
  void end_line(std::vector<ServerEvent>& out);
  void take_field(std::string_view name, std::string_view value);
};

}  // namespace lancet
