#pragma once
// Many HTTP/1.1 requests at a time on one thread (libcurl multi): connections kept alive, TLS
// verified, redirects not followed, every response bounded in size (after decompression, too) and
// in time.

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace lancet {

struct HttpRequest {
  std::string url;
  std::string body;          ///< sent by POST as JSON; empty: GET
  std::string secret;        ///< sent as a bearer token; "" = none
  double timeout = 600;      ///< seconds for the whole of it
  double idle_timeout = 60;  ///< seconds without a byte, once the first of the body has come
  std::uint64_t max_bytes = 64ULL << 20;  ///< of the decoded body
  bool fresh = false;                     ///< on a connection of its own, closed after it
};

struct HttpResponse {
  enum class Failure {
    kNone,
    kConnect,   ///< nothing was sent: no address, refused, no route
    kTls,       ///< the certificate does not hold
    kTimeout,   ///< `timeout` or `idle_timeout` passed
    kReset,     ///< the connection broke, or ended before the response did
    kTooLarge,  ///< more than max_bytes
    kOther
  };
  Failure failure = Failure::kNone;
  bool stale = false;   ///< kReset of a connection that was kept: the server had closed it, perhaps
  std::string message;  ///< libcurl's words for a failure
  long status = 0;      ///< 0 when none came
  std::string body;
  std::string content_type, location, retry_after, date;  ///< headers, "" where absent
  std::string reset_requests, reset_tokens;  ///< x-ratelimit-reset-requests and -tokens
  std::string remaining_requests, remaining_tokens;
  double seconds = 0;
};

struct HttpOptions {
  std::string ca_file;          ///< "" = the system's
  double connect_timeout = 10;  ///< seconds
  long connections = 64;        ///< kept alive
};

class HttpPool {
 public:
  using Done = std::function<void(HttpResponse&&)>;

  explicit HttpPool(HttpOptions options);
  ~HttpPool();
  HttpPool(const HttpPool&) = delete;
  HttpPool& operator=(const HttpPool&) = delete;

  /// `done` is called by a later pump(), once.
  void start(HttpRequest request, Done done);
  /// Waits for events, at most so long, and moves everything forward.
  void pump(std::chrono::milliseconds wait);
  /// Requests under way.
  [[nodiscard]] std::size_t active() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// "scheme://host:port" with the port made plain; "" when `url` is no http or https URL, or holds
/// user name, password or fragment.
[[nodiscard]] std::string url_origin(const std::string& url);

}  // namespace lancet
