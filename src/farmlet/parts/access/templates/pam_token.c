/* Written by Farmlet: a PAM module that asks for an access token and lets a program judge it.
 *
 *     auth [success=done default=die] /usr/lib/farmlet/pam_token.so PROGRAM [ARGUMENT...]
 *
 * PROGRAM is started as `PROGRAM ARGUMENT... USER`, with the token on its standard input and an empty environment;
 * it exits 0 if this user may come in. The token is in no argument, variable, file or log. What has not the form of
 * a token (guessed passwords, sshd's answer for users that do not exist) starts nothing.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>

#define PROMPT "Access Token:" /* clients of motley-cue wait for exactly this, without a blank after it */
#define SHORTEST 64
#define LONGEST 16384
#define ARGUMENTS 14
#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

static void run(int input, const char *user, int argc, const char **argv)
{
	char *words[ARGUMENTS + 2] = {0}, *nothing[] = {NULL};

	for (int i = 0; i < argc; i++)
		words[i] = (char *)argv[i];
	words[argc] = (char *)user;
	if (dup2(input, 0) < 0)
		_exit(127);
	closefrom(3);
	execve(words[0], words, nothing);
	_exit(127);
}

/* Whether the program, told the token, exits 0. */
static int judge(const char *token, const char *user, int argc, const char **argv)
{
	int ends[2], status = -1;
	ssize_t length = (ssize_t)strlen(token), sent;
	pid_t child;

	/* a socket, because writing to it can be told to raise no signal in sshd */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return 0;
	child = fork();
	if (child == 0)
		run(ends[1], user, argc, argv);
	close(ends[1]);
	sent = child < 0 ? -1 : send(ends[0], token, (size_t)length, MSG_NOSIGNAL);
	close(ends[0]);
	while (child > 0 && waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return 0;
	return sent == length && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int pam_sm_authenticate(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct sigaction ours = {.sa_handler = SIG_DFL}, before;
	const char *user = NULL;
	char *token = NULL;
	size_t length;
	int good = 0;

	(void)flags;
	if (argc < 1 || argc > ARGUMENTS || pam_get_user(pamh, &user, NULL) != PAM_SUCCESS || !user || user[0] == '-')
		return PAM_AUTH_ERR;
	if (pam_prompt(pamh, PAM_PROMPT_ECHO_OFF, &token, "%s", PROMPT) != PAM_SUCCESS || !token)
		return PAM_AUTH_ERR;
	length = strlen(token);
	if (length >= SHORTEST && length <= LONGEST && strspn(token, LETTERS) == length) {
		sigaction(SIGCHLD, &ours, &before); /* the end of the program is for us to hear of */
		good = judge(token, user, argc, argv);
		sigaction(SIGCHLD, &before, NULL);
	}
	explicit_bzero(token, length);
	free(token);
	return good ? PAM_SUCCESS : PAM_AUTH_ERR;
}

int pam_sm_setcred(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh, (void)flags, (void)argc, (void)argv;
	return PAM_SUCCESS;
}
