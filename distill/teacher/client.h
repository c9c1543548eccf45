#pragma once
// Asks a teacher: one queue over any number of endpoints that serve the same model. Every request
// is answered from the journal, or sent, repeated while that makes sense, and its answer kept
// before anybody sees it.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "distill/teacher/answer.h"
#include "distill/teacher/budget.h"
#include "distill/teacher/journal.h"
#include "distill/teacher/request.h"

namespace lancet {

struct TeacherLimits {
  std::uint32_t concurrency = 64;         ///< requests in flight, for each endpoint, at most
  std::uint64_t requests_per_minute = 0;  ///< for each endpoint; 0 = no limit
  std::uint64_t tokens_per_minute = 0;
  std::uint32_t attempts = 10;  ///< for each request; waiting for a busy server is none
  double timeout = 600;         ///< seconds for one request
  double idle_timeout = 60;     ///< seconds of silence in the middle of a response
  double latency_target = 0;    ///< seconds; slower answers count as overload; 0 = none do
  double give_up_after = 1800;  ///< seconds of waiting in which no endpoint answered anything
  /// The same, as long as none has answered in this run at all; one that answers GET /models and
  /// does not fail may take give_up_after for its first answer.
  double start_timeout = 120;
  std::uint64_t max_response_bytes = 64ULL << 20;
};

struct TeacherOptions {
  std::vector<std::string> urls;  ///< base URLs, "http://host:8000/v1"
  std::string model;
  std::string secret;  ///< from the environment; never written or shown
  std::string ca_file;
  bool stream = false;
  TeacherLimits limits;
  std::uint64_t seed = 0;  ///< of the jitter
  /// Set: nothing is sent. What the journal lacks is shown to it and answered with kUnreachable.
  std::function<void(const TeacherRequest&, const std::string& key)> offline;
};

/// What happened on the wire, for the summary.
struct TeacherCounts {
  std::uint64_t sent = 0, answered = 0, from_journal = 0, retried = 0, overloads = 0, malformed = 0;
  std::uint64_t set_aside = 0;  ///< times an endpoint was
  std::string given_up;         ///< what the last attempt of the last unreachable request met
};

class TeacherClient {
 public:
  using Done = std::function<void(const TeacherAnswer&)>;

  /// `journal` and `budget` outlive the client.
  TeacherClient(TeacherOptions options, Journal& journal, Budget& budget);
  ~TeacherClient();

  /// `done` is called by a later pump(), once. Equal requests are sent once.
  void ask(TeacherRequest request, Done done);
  /// Moves everything forward, waiting for events at most `wait`. Throws kResource when a cap is
  /// reached and nothing is under way any more, and when no endpoint answers; kUsage or kInput for
  /// what no request could survive (401, 403, 404, a redirect to another host).
  void pump(std::chrono::milliseconds wait = std::chrono::milliseconds(50));
  /// Requests whose `done` has not been called.
  [[nodiscard]] std::size_t open() const noexcept;
  [[nodiscard]] const TeacherCounts& counts() const noexcept;
  /// Document of GET /models of the first endpoint that answers; kResource when none does.
  [[nodiscard]] Json models();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lancet
