// Runs in a process of its own what may crash, hang or corrupt memory.
#pragma once

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <sys/wait.h>
#include <unistd.h>

namespace test {

struct child_end {
    int status = 0;  ///< what the function returned; -1 if it did not get that far
    int signal = 0;  ///< what killed it, else 0
    bool hung = false;

    std::string words() const
    {
        if (hung)
            return "hangs";
        if (signal != 0)
            return "is killed by " + (signal == SIGSEGV   ? std::string{"SIGSEGV"}
                                      : signal == SIGABRT ? std::string{"SIGABRT"}
                                      : signal == SIGILL  ? std::string{"SIGILL"}
                                                          : "signal " + std::to_string(signal));
        return "ends with status " + std::to_string(status);
    }
};

/// Calls f, which returns a small number, in a child of this process that is given `seconds` and may print
/// nothing. Precondition: no thread of this process is running apart from the caller.
template <class F>
child_end in_child(F&& f, unsigned seconds = 20)
{
    std::fflush(nullptr);
    const pid_t child = ::fork();
    if (child == 0) {
        const int nowhere = ::open("/dev/null", O_WRONLY);
        ::dup2(nowhere, STDOUT_FILENO);
        ::dup2(nowhere, STDERR_FILENO);
        std::signal(SIGALRM, SIG_DFL);
        std::signal(SIGABRT, SIG_DFL);
        std::signal(SIGSEGV, SIG_DFL);
        ::alarm(seconds);
        int status = 255;
        try {
            status = f();
        } catch (...) {
        }
        ::_exit(status);
    }
    child_end end;
    int raw = 0;
    while (::waitpid(child, &raw, 0) < 0) {}
    if (WIFSIGNALED(raw)) {
        end.status = -1;
        end.signal = WTERMSIG(raw);
        end.hung = end.signal == SIGALRM;
    } else
        end.status = WEXITSTATUS(raw);
    return end;
}

}  // namespace test
