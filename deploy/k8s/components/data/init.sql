-- One database and one login per service; a login opens no database but its own.
\getenv users_password USERS_PASSWORD
\getenv content_password CONTENT_PASSWORD
\getenv notifications_password NOTIFICATIONS_PASSWORD

CREATE ROLE users LOGIN PASSWORD :'users_password';
CREATE ROLE content LOGIN PASSWORD :'content_password';
CREATE ROLE notifications LOGIN PASSWORD :'notifications_password';

CREATE DATABASE users OWNER users;
CREATE DATABASE content OWNER content;
CREATE DATABASE notifications OWNER notifications;

REVOKE CONNECT ON DATABASE postgres, users, content, notifications FROM PUBLIC;
