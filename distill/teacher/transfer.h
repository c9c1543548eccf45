#pragma once
// One of an HttpPool's transfers: libcurl's handle with its options and callbacks.

#include <curl/curl.h>

#include <array>
#include <chrono>
#include <string>

#include "distill/teacher/http.h"

namespace lancet {

/// A handle set up for one URL, and what goes on in it now. Used again by the next request to the
/// same URL, which then says only what it sends.
struct Transfer {
  /// Set up for `its`, and with its body.
  Transfer(const HttpOptions& options, HttpRequest its);
  ~Transfer();
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  /// Whether it is set up for what `other` needs, but for the body.
  [[nodiscard]] bool fits(const HttpRequest& other) const;
  /// The next request; fits() it.
  void use_for(HttpRequest next);
  [[nodiscard]] HttpResponse::Failure failure(CURLcode code) const;
  /// libcurl's words for a failure, or ours.
  [[nodiscard]] std::string message(CURLcode code) const;

  CURL* easy;
  curl_slist* headers = nullptr;
  HttpRequest request;
  struct Now {
    HttpResponse response;
    HttpPool::Done done;
    std::size_t header_bytes = 0;
    std::chrono::steady_clock::time_point last_byte = std::chrono::steady_clock::now();
    bool got_byte = false;
    bool too_large = false;
    bool idle = false;
    int sends = 0;
  } now;
  std::size_t place = 0;  ///< in the list of the active ones
  std::array<char, CURL_ERROR_SIZE> error{};

 private:
  void set_up(const HttpOptions& options);
  void set_body() const;
};

}  // namespace lancet
